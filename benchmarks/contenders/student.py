"""The report as a student writes it: ImageFolder, PIL, Resize, DataLoader, a plain loop."""

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.contenders.case import DEGREES, PADDING_PX, Case, adam, train

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def image_loader(case: Case, split: str = "train") -> DataLoader[tuple[Tensor, Tensor]]:
    """RGB images, resized and normalised; for training, shuffled and augmented as the case says."""
    training = split == "train"
    augment = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(DEGREES),
        transforms.RandomCrop(case.image_size, padding=PADDING_PX),
    ]
    transform = transforms.Compose(
        [
            transforms.Resize((case.image_size, case.image_size)),
            *(augment if case.augment and training else []),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = ImageFolder(str(case.root / split), transform)
    return DataLoader(images, case.batch_size, shuffle=training, num_workers=case.workers)


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds."""
    network = case.network(channels=3)
    return train(network, image_loader(case), case, adam(network))
