"""(e) fastai: ImageDataLoaders, aug_transforms on the batch, Learner.fit."""

# mypy: allow-subclassing-any
# mypy: disable-error-code="import-untyped,import-not-found"

import time
from contextlib import AbstractContextManager

from fastai.vision.all import (
    Callback,
    ChannelsLast,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    RandomCrop,
    Resize,
    aug_transforms,
    imagenet_stats,
)

from benchmarks.training.case import DEGREES, LEARNING_RATE, PADDING_PX, Case


class BatchEnds(Callback):
    """Reads the clock at each training batch's end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_batch(self) -> None:
        """A step ends."""
        if self.training:
            self.ends.append(time.monotonic())


class CpuAutocast(Callback):
    """What fastai's own MixedPrecision does, which in 2.8 knows CUDA alone."""

    order = 10

    def __init__(self, case: Case) -> None:
        self.case = case
        self.context: AbstractContextManager[None] = case.autocast()

    def before_batch(self) -> None:
        """Forward and loss in bfloat16 where that pays."""
        self.context = self.case.autocast()
        self.context.__enter__()

    def after_loss(self) -> None:
        """The backward pass follows without it."""
        self.context.__exit__(None, None, None)


def run(case: Case) -> list[float]:
    """The clock at each batch's end, seconds.

    Its random crop is of an image resized larger, which is fastai's way; there is no padding.
    """
    larger = case.image_size + (2 * PADDING_PX if case.augment else 0)
    items = [Resize(larger, method="squish")]
    batch = [Normalize.from_stats(*imagenet_stats)]
    if case.augment:
        items.append(RandomCrop(case.image_size))
        batch = [
            *aug_transforms(max_rotate=DEGREES, max_zoom=1, max_lighting=0, max_warp=0, p_affine=1),
            *batch,
        ]
    loaders = ImageDataLoaders.from_folder(
        case.root,
        train="train",
        valid="test",
        item_tfms=items,
        batch_tfms=batch,
        bs=case.batch_size,
        num_workers=case.workers,
    )
    clock = BatchEnds()
    learner = Learner(
        loaders,
        case.network(channels=3),
        loss_func=CrossEntropyLossFlat(),
        path=case.folder,
        cbs=[clock, *([ChannelsLast(), CpuAutocast(case)] if case.same else [])],
    )
    learner.fit(1, LEARNING_RATE)
    return clock.ends
