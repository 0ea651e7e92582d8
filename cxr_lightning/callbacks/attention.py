"""Where a tested network looks: `explanation.json` in the run folder, scalars in TensorBoard."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Trainer

from cxr_lightning.callbacks.dashboard import writers
from cxr_lightning.errors import ConfigError
from cxr_lightning.explanation import attention, heatmaps
from cxr_lightning.models.predictions import Predictions
from cxr_lightning.runs.writing import write_json

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.models.classifier import Classifier

FILE = "explanation.json"


def record_attention(trainer: Trainer, predictions: Predictions, most: int) -> bool:
    """Explain at most `most` test images, drawn by chance; False, with a sentence, if it cannot.

    The explained class is the predicted one. TensorBoard gets `test/attention/…`.
    """
    n = len(predictions.rows)
    drawn = np.sort(np.random.default_rng(0).choice(n, min(n, most), replace=False))
    classifier, datamodule = _of(trainer)
    groups = list(datamodule.table["group"].iloc[predictions.rows[drawn]])
    file = Path(trainer.default_root_dir) / FILE
    try:
        found = attention(classifier, *_images(trainer, predictions, drawn), groups)
    except ConfigError as reason:
        print(reason)
        write_json(file, {"reason": str(reason)})
        return False
    write_json(file, found)
    scalars = {
        "center": found["center"]["value"],
        "center_low": found["center"]["low"],
        "center_high": found["center"]["high"],
        "center_if_uniform": found["center"]["uniform_share"],
        "correlation_with_random_weights": found["randomised_weights"]["rank_correlation"],
    }
    for writer in writers(trainer):
        for name, value in scalars.items():
            if value is not None:
                writer.add_scalar(f"test/attention/{name}", value, trainer.current_epoch)
    return True


def maps_of(
    trainer: Trainer, predictions: Predictions, chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """The heatmaps (n, S, S) of these of the predictions (n,), for the predicted class."""
    images, classes = _images(trainer, predictions, chosen)
    return heatmaps(_of(trainer)[0], images, classes).numpy()


def _of(trainer: Trainer) -> "tuple[Classifier, XrayDataModule]":
    return trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined, return-value]


def _images(
    trainer: Trainer, predictions: Predictions, chosen: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = _of(trainer)[1].pixels
    films = np.stack([pixels[row] for row in predictions.rows[chosen]])[:, None]
    return torch.from_numpy(films), torch.from_numpy(predictions.predicted[chosen])
