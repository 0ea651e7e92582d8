"""What happens to a whole batch of training images, on the device: smaller images, mixed images."""

from collections.abc import Callable

from pytorch_lightning import Trainer
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


def share_done(trainer: Trainer) -> float:
    """Which part of the training is over, 0 to 1, by epochs or by steps, whichever ends first."""
    by_epochs = trainer.current_epoch / max(trainer.max_epochs or 1, 1)
    by_steps = trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0
    return max(by_epochs, by_steps)


def size_at(sizes_px: list[int], share: float) -> int:
    """The side of the training images after this share of the training: all get equal parts."""
    return sizes_px[min(int(share * len(sizes_px) + 1e-9), len(sizes_px) - 1)]


def resized(batch: Batch, size_px: int) -> Batch:
    """The batch with images of size_px × size_px."""
    if batch.image.shape[-1] == size_px:
        return batch
    return batch._replace(image=resize(batch.image, [size_px, size_px], antialias=True))
