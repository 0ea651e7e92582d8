"""What a trained network says of films whose centre or border is blacked out."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.metrics import Estimate, estimate
from cxr_lightning.models.classifier import Classifier

Image = npt.NDArray[np.uint8]
MARGIN = 0.1  # of a side: the border that is left when the central 80% is black
BATCH = 64


def _centre_black(image: Image) -> Image:
    margin = max(1, round(MARGIN * len(image)))
    image[margin:-margin, margin:-margin] = 0
    return image


def _border_black(image: Image) -> Image:
    margin = max(1, round(MARGIN * len(image)))
    black = np.zeros_like(image)
    black[margin:-margin, margin:-margin] = image[margin:-margin, margin:-margin]
    return black


MASKS: dict[str, Callable[[Image], Image]] = {
    "whole": lambda image: image,
    "border only": _centre_black,
    "centre only": _border_black,
}


def masked_accuracy(
    classifier: Classifier, datamodule: XrayDataModule, n_resamples: int
) -> dict[str, Estimate]:
    """The accuracy on the test films: whole, their border only, and their centre only."""
    rows = datamodule.rows("test")
    table, pixels = datamodule.table.iloc[rows], datamodule.pixels.take(rows)
    labels = table["label"].to_numpy(dtype=np.int64)
    found = {}
    for name, mask in MASKS.items():
        probabilities = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                some = range(start, min(start + BATCH, len(pixels)))
                batch = torch.from_numpy(np.stack([mask(pixels[i]) for i in some])[:, None])
                logits = classifier.network.eval()(batch).double()
                probabilities.append(torch.softmax(logits, dim=1).numpy())
        said = (labels, np.concatenate(probabilities), datamodule.classes, list(table["group"]))
        found[name] = estimate(*said, n_resamples=n_resamples)["accuracy"]
    return found
