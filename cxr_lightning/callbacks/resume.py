"""Makes a run that was interrupted and resumed the same, bit for bit, as an uninterrupted one."""

from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class Resumable(Callback):
    """Restores, when a resumed run starts, what Lightning's checkpoints leave out."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay stopped: a run that was interrupted in its test has nothing left to train."""
        trainer.should_stop = any(c.stopped_epoch > 0 for c in trainer.early_stopping_callbacks)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let dropout and the like depend on seed, epoch and rank, not on the epochs before.

        The order of images and their augmentation do so already, by the sampler. The seed is set
        at an epoch's first batch, not before: a resumed run makes its loader, which draws a number,
        at another moment.
        """
        if batch_idx > 0:
            return
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
