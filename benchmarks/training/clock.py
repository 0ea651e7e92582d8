"""A callback of Lightning that reads the clock."""

import json
import time
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning import Callback, LightningModule, Trainer


class Clock(Callback):
    """Reads the clock at the end of each training batch, and where a run's parts begin and end.

    ends: seconds, one a training batch; no other process can compare them. `clock.json` in the run
    folder: wall-clock times of the first step, of each epoch's batches, of the fit and the test.
    """

    latest: ClassVar["Clock"]

    def __init__(self) -> None:
        Clock.latest = self  # Hydra builds it, so that nobody else has it
        self.ends: list[float] = []
        self.epochs: list[tuple[float, float]] = []
        self.events: dict[str, float] = {}
        self._epoch_start = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """An epoch's first step begins."""
        if batch_idx == 0:
            self._epoch_start = time.time()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """A step ends, and perhaps an epoch's last one."""
        self.ends.append(time.monotonic())
        self.events.setdefault("first_step_end", time.time())
        if trainer.is_last_batch:
            self.epochs.append((self._epoch_start, time.time()))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training is done."""
        self.events["fit_end"] = time.time()

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The first test batch begins."""
        self.events.setdefault("test_start", time.time())

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last test batch is done; what follows are intervals and files."""
        self.events["test_end"] = time.time()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the times in the run folder."""
        times = {**self.events, "epochs": self.epochs}
        Path(trainer.default_root_dir, "clock.json").write_text(json.dumps(times))
