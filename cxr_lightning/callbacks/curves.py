"""curves.csv: the metrics of every epoch, the same however often a run was interrupted."""

from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning.runs.writing import write_csv


class Curves(Checkpoint):
    """Writes one row per epoch; checkpoints hold the rows, so a resumed run has them all.

    A `Checkpoint`, because Lightning 2.6 calls those after the module has logged its training
    metrics; listed before the others, so that they save the epoch's row.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "curves.csv"
        self.rows: list[dict[str, float]] = []
        self._validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget that an earlier epoch was validated."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch's validation metrics are its own."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self.rows.append(
            row
            | {
                name: value.item()
                for name, value in trainer.callback_metrics.items()
                if not name.startswith("time/" if self._validated else ("time/", "val/"))
            }
        )
        self._write()

    def at(self, epoch: int) -> dict[str, float]:
        """The validation metrics of an epoch; none where nothing was validated in it."""
        row = next((row for row in self.rows if row["epoch"] == epoch), {})
        return {name: value for name, value in row.items() if name.startswith("val/")}

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows up to the checkpoint."""
        self.rows = state_dict["rows"]

    @rank_zero_only
    def _write(self) -> None:
        write_csv(self.file, pd.DataFrame(self.rows))
