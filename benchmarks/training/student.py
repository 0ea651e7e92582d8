"""(a) The report as a student writes it: ImageFolder, PIL, Resize, DataLoader, a plain loop."""

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.training.case import DEGREES, PADDING_PX, Case, train

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def image_folder(case: Case, split: str = "train") -> ImageFolder:
    """RGB images, resized and normalised; to train on, flipped, rotated and cropped where asked."""
    augment = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(DEGREES),
        transforms.RandomCrop(case.image_size, padding=PADDING_PX),
    ]
    transform = transforms.Compose(
        [
            transforms.Resize((case.image_size, case.image_size)),
            *(augment if case.augment and split == "train" else []),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return ImageFolder(str(case.root / split), transform)


def run(case: Case) -> list[float]:
    """The clock at each batch's end, seconds."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        image_folder(case), case.batch_size, shuffle=True, num_workers=case.workers
    )
    return train(case.network(channels=3), loader, case)
