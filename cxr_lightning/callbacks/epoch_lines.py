"""One line per epoch on the screen, at any width, and a progress bar on a terminal."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN = {
    "train/loss": "loss",
    "train/f1_macro": "F1",
    "val/loss": "val loss",
    "val/f1_macro": "val F1",
}


class EpochLines(Checkpoint):
    """Prints each epoch's numbers; the bar is drawn on a terminal only and vanishes when full.

    A `Checkpoint`, because Lightning 2.6 calls those after the module has logged its metrics.
    """

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._since = 0.0

    def _begin(self, trainer: Trainer, what: str, total: Any) -> None:
        console = Console(stderr=True)
        if trainer.is_global_zero and console.is_terminal:
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task(what, total=sum(total) if isinstance(total, list) else total)
            self._bar.start()

    def _advance(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def _end(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's bar."""
        self._since = time.perf_counter()
        self._begin(trainer, f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line."""
        self._end()
        if trainer.is_global_zero:
            epoch, last = trainer.current_epoch + 1, trainer.max_epochs
            of = f"/{last}" if last is not None and last > 0 else ""
            metrics = trainer.callback_metrics
            parts = [f"{name} {metrics[key]:.3f}" for key, name in SHOWN.items() if key in metrics]
            seconds = f"{time.perf_counter() - self._since:.0f} s"
            print("  ".join([f"epoch {epoch}{of}", *parts, seconds]), flush=True)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the test's bar."""
        self._begin(trainer, "test", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the prediction's bar."""
        self._begin(trainer, "predict", trainer.num_predict_batches)

    on_train_batch_end = on_test_batch_end = on_predict_batch_end = _advance  # type: ignore[assignment]
    on_test_end = on_predict_end = on_exception = _end  # type: ignore[assignment]
