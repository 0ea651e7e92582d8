"""The test images that most runs of a sweep get wrong, as thumbnails."""

import base64
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_lightning.data.decode import UnreadableImageError, decode
from cxr_lightning.sweeps.aligned import Aligned

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


def common_mistakes(aligned: Aligned, images: Path | None) -> list[Mistake]:
    """Images that at least half of the runs get wrong, the worst first; at most 24.

    images: the folder that paths start from. Ties go to the image whose true class is given the
    lowest mean probability.
    """
    predicted = np.concatenate([cell.predicted for cell in aligned.cells])
    wrong = (predicted != aligned.labels).sum(axis=0)
    probabilities = np.concatenate([cell.probabilities for cell in aligned.cells]).mean(axis=0)
    of_truth = probabilities[np.arange(len(aligned.labels)), aligned.labels]
    order = np.lexsort((of_truth, -wrong))
    chosen = [int(i) for i in order if 2 * wrong[i] >= len(predicted)][:SHOWN]
    return [
        Mistake(
            path=aligned.paths[i],
            label=aligned.classes[aligned.labels[i]],
            called=dict(
                Counter(
                    aligned.classes[k] for k in predicted[:, i] if k != aligned.labels[i]
                ).most_common()
            ),
            wrong=int(wrong[i]),
            runs=len(predicted),
            thumbnail=_thumbnail(images / aligned.paths[i]) if images else None,
        )
        for i in chosen
    ]


def _thumbnail(file: Path) -> str | None:
    try:
        pixels = decode(file, SIZE_PX)
    except (UnreadableImageError, OSError):
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
