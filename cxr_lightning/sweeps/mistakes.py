"""The test images that most runs of a sweep get wrong, as thumbnails."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_lightning.data.decode import UnreadableImageError, decode
from cxr_lightning.sweeps.cells import Cell

SHOWN, SIZE_PX = 24, 144


@dataclass(frozen=True)
class Mistake:
    """An image, its class, what the runs called it, and a thumbnail (data URL) if it was found."""

    path: str
    label: str
    called: dict[str, int]
    wrong: int
    runs: int
    thumbnail: str | None


def common_mistakes(cells: Sequence[Cell]) -> list[Mistake]:
    """Images that at least half of the runs that tested them get wrong; at most 24.

    The highest share of wrong runs comes first; among equals, the image whose true class is given
    the lowest mean probability. Runs whose images came from different folders are not mixed.
    """
    called: dict[tuple[str, str, str], list[str]] = {}
    of_truth: dict[tuple[str, str, str], list[float]] = {}
    for cell in cells:
        for seed in cell.seeds:
            root = str(seed.runs[0].record.get("images_root") or "")
            probabilities = seed.probabilities[np.arange(len(seed.labels)), seed.labels]
            for (_, path, _, label), k, p in zip(
                seed.tests, seed.predicted, probabilities.tolist(), strict=True
            ):
                called.setdefault((root, path, label), []).append(cell.classes[k])
                of_truth.setdefault((root, path, label), []).append(p)
    wrong = {
        image: Counter(name for name in names if name != image[2])
        for image, names in called.items()
    }
    share = {image: counts.total() / len(called[image]) for image, counts in wrong.items()}
    order = sorted(called, key=lambda image: (-share[image], float(np.mean(of_truth[image]))))
    return [
        Mistake(
            path=image[1],
            label=image[2],
            called=dict(wrong[image].most_common()),
            wrong=wrong[image].total(),
            runs=len(called[image]),
            thumbnail=_thumbnail(Path(image[0]) / image[1]) if image[0] else None,
        )
        for image in [image for image in order if share[image] >= 0.5][:SHOWN]
    ]


def _thumbnail(file: Path) -> str | None:
    try:
        pixels = decode(file, SIZE_PX)
    except (UnreadableImageError, OSError):
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
