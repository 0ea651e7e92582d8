"""MONAI: dictionary transforms, cached in memory up to the first random one."""

# What monai exports, it does not declare so.
# mypy: disable-error-code="import-not-found,attr-defined,arg-type"

import math
from operator import methodcaller

from monai import transforms
from monai.data import CacheDataset, DataLoader
from monai.data.image_reader import PILReader

from benchmarks.contenders.case import DEGREES, PADDING_PX, Case, adam, train


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds; the cache is filled before the training.

    One grey channel. Plain tensors instead of MetaTensors: they are faster, and a classifier needs
    no affine matrix.
    """
    items = [{"image": str(file), "label": label} for file, label in case.files]
    transform = transforms.Compose(
        [
            transforms.LoadImaged("image", PILReader(methodcaller("convert", "L"))),
            transforms.EnsureChannelFirstd("image"),
            transforms.Resized("image", (case.image_size, case.image_size)),
            transforms.ScaleIntensityRanged("image", 0, 255, 0, 1),
            transforms.EnsureTyped("image", track_meta=False),
            *(_augment(case) if case.augment else []),
        ]
    )
    images = CacheDataset(items, transform, progress=False)
    loader = DataLoader(images, batch_size=case.batch_size, shuffle=True, num_workers=case.workers)
    batches = ((batch["image"], batch["label"]) for batch in loader)
    network = case.network(channels=1)
    return train(network, batches, case, adam(network))


def _augment(case: Case) -> list[transforms.Transform]:
    padded, size = case.image_size + 2 * PADDING_PX, case.image_size
    return [
        transforms.RandFlipd("image", prob=0.5, spatial_axis=0),  # its first axis is the width
        transforms.RandRotated("image", math.radians(DEGREES), prob=1, padding_mode="zeros"),
        transforms.SpatialPadd("image", (padded, padded)),
        transforms.RandSpatialCropd("image", (size, size), random_size=False),
    ]
