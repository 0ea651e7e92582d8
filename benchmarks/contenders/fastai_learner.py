"""fastai: ImageDataLoaders, aug_transforms on the batch, Learner.fit."""

# mypy: disable-error-code="import-untyped,import-not-found"

import time
from pathlib import Path

from fastai.vision import all as fv

from benchmarks.contenders.case import DEGREES, LEARNING_RATE, PADDING_PX, Case


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds.

    Its random crop is of an image resized larger, which is fastai's way; there is no padding.
    """
    larger = case.image_size + (2 * PADDING_PX if case.augment else 0)
    items = [fv.Resize(larger, method="squish")]
    batch = [fv.Normalize.from_stats(*fv.imagenet_stats)]
    if case.augment:
        items.append(fv.RandomCrop(case.image_size))
        batch += fv.aug_transforms(
            max_rotate=DEGREES, max_zoom=1, max_lighting=0, max_warp=0, p_affine=1
        )
    loaders = fv.ImageDataLoaders.from_folder(
        case.root,
        train="train",
        valid="test",
        item_tfms=items,
        batch_tfms=batch,
        bs=case.batch_size,
        num_workers=case.workers,
    )
    ends: list[float] = []
    clock = fv.Callback(after_batch=lambda _: ends.append(time.monotonic()))  # then validation's
    network = case.network(channels=3)
    # fastai's own MixedPrecision supports CUDA only (2.8).
    network.forward = case.autocast()(network.forward)
    network.register_forward_hook(lambda _, __, logits: logits.float())
    learner = fv.Learner(
        loaders,
        network,
        loss_func=fv.CrossEntropyLossFlat(),
        path=Path.cwd(),
        cbs=[clock, fv.ChannelsLast()] if case.same else [clock],
    )
    learner.fit(1, LEARNING_RATE)
    return ends
