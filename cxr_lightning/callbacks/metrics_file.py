"""What a test leaves in the run folder: predictions.csv and metrics.json."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning.metrics import Estimate, confusion_matrix, estimate
from cxr_lightning.models.predictions import Predictions
from cxr_lightning.runs.writing import write_csv, write_json
from cxr_lightning.subgroups import columns_of, subgroups

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.models.classifier import Classifier


def predictions_table(datamodule: "XrayDataModule", predictions: Predictions) -> pd.DataFrame:
    """One row per image: path, group, label, predicted, one probability per class; then the rest.

    The rest is the source and the manifest's further columns: view, sex, age …
    """
    classes, table = datamodule.classes, datamodule.table.iloc[predictions.rows]
    frame = table[["path", "group"]].assign(
        label=[classes[k] for k in predictions.labels],
        predicted=[classes[k] for k in predictions.predicted],
    )
    probabilities = pd.DataFrame(
        predictions.probabilities, columns=list(classes), index=frame.index
    )
    return frame.join(probabilities).join(table.iloc[:, 4:])


class TestResults(Callback):
    """Writes the final numbers of a test, with intervals by patient, and every prediction."""

    __test__ = False  # for pytest: this is no class of tests

    def __init__(
        self, folder: Path, n_resamples: int, seed: int, columns: Sequence[str] | None = None
    ) -> None:
        """`columns` of the images' table make subgroups, see `subgroups.columns_of`."""
        self.folder, self.n_resamples, self.seed = folder, n_resamples, seed
        self.columns, self.subgroups = columns, pd.DataFrame()
        self.estimates: dict[str, Estimate] = {}
        self._metrics: dict[str, Any] = {}

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions, which the module has only after its own hooks."""
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        predictions = cast("Classifier", pl_module).predictions["test"]
        classes: list[str] = pl_module.hparams["classes"]
        table = datamodule.table.iloc[predictions.rows]
        values = estimate(
            predictions.labels,
            predictions.probabilities,
            classes,
            list(table["group"]),
            n_resamples=self.n_resamples,
            seed=self.seed,
        )
        self.estimates = {f"test/{name}": value for name, value in values.items()}
        per_class = np.bincount(predictions.labels, minlength=len(classes))
        self._metrics = {
            "n": len(table),
            "patients": int(table["group"].nunique()),
            "images_per_class": dict(zip(classes, per_class.tolist(), strict=True)),
            "classes_without_images": [
                name for name, n in zip(classes, per_class, strict=True) if n == 0
            ],
            "majority_baseline_accuracy": float(per_class.max() / per_class.sum()),
            "metrics": {name: asdict(value) for name, value in self.estimates.items()},
            "confusion_matrix": confusion_matrix(
                predictions.labels, predictions.predicted, len(classes)
            ).tolist(),
        }
        write_csv(self.folder / "predictions.csv", predictions_table(datamodule, predictions))
        self.subgroups = subgroups(
            *(table, predictions.labels, predictions.probabilities, classes),
            columns_of(table, self.columns),
            n_resamples=self.n_resamples,
            seed=self.seed,
        )
        if len(self.subgroups):
            write_csv(self.folder / "subgroups.csv", self.subgroups)

    @rank_zero_only
    def write_metrics(self, tested: dict[str, Any] | None = None) -> None:
        """Write metrics.json as the last file: a folder that has it is finished.

        tested: which checkpoint was tested, of which epoch, and its validation metrics.
        """
        write_json(self.folder / "metrics.json", (tested or {}) | self._metrics)
