"""TorchXRayVision's loader: scikit-image, values from -1024 to 1024, its crop and resizer."""

# mypy: allow-subclassing-any
# mypy: disable-error-code="import-untyped,import-not-found"

from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torchxrayvision as xrv
from skimage.io import imread
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.contenders.case import DEGREES, PADDING_PX, Case, adam, train


class Films(xrv.datasets.Dataset):
    """A folder of class folders as one of the library's own data sets."""

    def __init__(self, case: Case, transform: Any, data_aug: Any) -> None:
        super().__init__()
        self.transform, self.data_aug = transform, data_aug
        self.pathologies = case.classes
        self.csv = pd.DataFrame(case.files, columns=["file", "class"])
        self.labels = np.eye(len(case.classes), dtype=np.float32)[self.csv["class"]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Any:
        image = imread(self.csv["file"].iloc[position])
        sample = {"idx": position, "lab": self.labels[position]}
        sample["img"] = xrv.datasets.normalize(image, maxval=255, reshape=True)
        sample = xrv.datasets.apply_transforms(sample, self.transform)
        return xrv.datasets.apply_transforms(sample, self.data_aug)


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds.

    In its usual settings the resizer is scikit-image's; given the same as ours, OpenCV's, which is
    faster, where that is installed.
    """
    engine = "cv2" if case.same and find_spec("cv2") else "skimage"
    transform = transforms.Compose(
        [xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(case.image_size, engine=engine)]
    )
    augment = transforms.Compose(
        [
            xrv.datasets.ToPILImage(),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(DEGREES),
            transforms.RandomCrop(case.image_size, padding=PADDING_PX),
            transforms.ToTensor(),
        ]
    )
    films = Films(case, transform, augment if case.augment else None)
    loader: DataLoader[Any] = DataLoader(
        films, case.batch_size, shuffle=True, num_workers=case.workers
    )
    batches = ((batch["img"], batch["lab"].argmax(dim=1)) for batch in loader)
    network = case.network(channels=1)
    return train(network, batches, case, adam(network))
