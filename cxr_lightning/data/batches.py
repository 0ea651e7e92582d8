"""What happens to a whole batch of training images, on the device: smaller images, mixed images."""

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2.functional import resize

from cxr_lightning.config import Target
from cxr_lightning.data.dataset import Batch
from cxr_lightning.instantiate import build, parameters

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def is_of_batches(node: Target) -> bool:
    """Whether a transform takes a batch and its labels, as torchvision's MixUp and CutMix do."""
    return "num_classes" in parameters(node)


def build_mixes(nodes: dict[str, Target], num_classes: int) -> list[Mix]:
    """The transforms of batches in `conf/augment`; their `num_classes` is filled in."""
    return [build(node, num_classes=num_classes) for node in nodes.values()]


def mixed(batch: Batch, mixes: list[Mix]) -> Batch:
    """The batch after all `mixes`: images float32 of 0 to 255, labels shares of classes (B, C).

    mixup: Zhang et al., ICLR 2018; CutMix: Yun et al., ICCV 2019.
    """
    image, label = batch.image, batch.label
    for mix in mixes:
        image, label = mix(image.float(), label)
    return Batch(image, label, batch.row)


def size_of_epoch(sizes_px: list[int], epoch: int, max_epochs: int) -> int:
    """The side of the training images in `epoch`: all sizes get equal parts of the training."""
    return sizes_px[min(epoch * len(sizes_px) // max_epochs, len(sizes_px) - 1)]


def resized(batch: Batch, size_px: int) -> Batch:
    """The batch with images of size_px × size_px."""
    if batch.image.shape[-1] == size_px:
        return batch
    return batch._replace(image=resize(batch.image, [size_px, size_px], antialias=True))
