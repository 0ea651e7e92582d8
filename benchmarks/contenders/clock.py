"""A callback of Lightning that reads the clock."""

import json
import time
from functools import partialmethod
from pathlib import Path
from typing import ClassVar

from pytorch_lightning import Callback, LightningModule, Trainer

HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_fit_end",
    "on_test_batch_start",
    "on_test_epoch_end",
)


class Clock(Callback):
    """Notes the wall-clock times at which each of `HOOKS` is called, in `clock.json` at the end.

    times: of the latest instance: Hydra builds the callback, so that nobody else has it.
    """

    times: ClassVar[dict[str, list[float]]]

    def __init__(self) -> None:
        Clock.times = {hook: [] for hook in HOOKS}

    def note(self, hook: str, *_: object) -> None:
        """The hook is called."""
        self.times[hook].append(time.time())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the times in the run folder."""
        file = Path(trainer.default_root_dir, "clock.json")
        file.write_text(json.dumps(self.times), encoding="utf-8")


for _hook in HOOKS:
    setattr(Clock, _hook, partialmethod(Clock.note, _hook))
