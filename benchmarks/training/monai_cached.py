"""(c) MONAI: dictionary transforms, cached in memory up to the first random one."""

# What monai exports, it does not declare so.
# mypy: disable-error-code="import-not-found,attr-defined,arg-type"

import math

from monai.data import CacheDataset, DataLoader
from monai.data.image_reader import PILReader
from monai.transforms import (
    Compose,
    EnsureTyped,
    LoadImaged,
    RandFlipd,
    RandRotated,
    RandSpatialCropd,
    Resized,
    ScaleIntensityRanged,
    SpatialPadd,
)
from PIL import Image

from benchmarks.training.case import DEGREES, PADDING_PX, Case, train


def run(case: Case) -> list[float]:
    """The clock at each batch's end, seconds; the cache is filled before the training.

    One grey channel. Plain tensors instead of MetaTensors: they are faster, and a classifier needs
    no affine matrix.
    """
    items = [
        {"image": str(file), "label": label}
        for label, name in enumerate(case.classes)
        for file in sorted((case.train / name).iterdir())
    ]
    transform = Compose(
        [
            LoadImaged("image", reader=PILReader(converter=_grey), ensure_channel_first=True),
            Resized("image", (case.image_size, case.image_size)),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            EnsureTyped("image", track_meta=False),
            *(_augment(case) if case.augment else []),
        ]
    )
    dataset = CacheDataset(items, transform, progress=False)
    loader = DataLoader(dataset, batch_size=case.batch_size, shuffle=True, num_workers=case.workers)
    batches = ((batch["image"], batch["label"]) for batch in loader)
    return train(case.network(channels=1), batches, case)


def _augment(case: Case) -> list[RandFlipd | RandRotated | SpatialPadd | RandSpatialCropd]:
    padded, size = case.image_size + 2 * PADDING_PX, case.image_size
    return [
        RandFlipd("image", prob=0.5, spatial_axis=0),  # its first axis is the width
        RandRotated("image", range_x=math.radians(DEGREES), prob=1, padding_mode="zeros"),
        SpatialPadd("image", (padded, padded)),
        RandSpatialCropd("image", (size, size), random_size=False),
    ]


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L")
