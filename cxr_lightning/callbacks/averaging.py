"""The moving average of the weights: validated, saved and tested instead of the weights."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

FIRST = 10  # the average of the first steps is short: of about a tenth of them


class ExponentialAverage(WeightAveraging):
    """Lightning's WeightAveraging with a decay that begins small, and for the training only.

    After t steps the old average counts min(`decay`, (1 + t) / (10 + t)); so of a short training
    little is left of the weights that it began with. Lightning 2.6 would, when a checkpoint is
    tested, put the weights themselves in the place of the average that the file holds.
    """

    def __init__(self, decay: float = 0.998) -> None:
        self._steps = 0

        def average(means: Any, weights: Any, n_averaged: Any) -> None:
            # n_averaged is the same number, on the device: to read it would wait for the device.
            now = min(decay, (1 + self._steps) / (FIRST + self._steps))
            get_ema_multi_avg_fn(now)(means, weights, n_averaged)  # type: ignore[no-untyped-call]

        super().__init__(multi_avg_fn=average)

    def on_train_batch_end(self, trainer: Trainer, *given: Any) -> None:
        """Take the step's weights into the average."""
        self._steps = trainer.global_step
        super().on_train_batch_end(trainer, *given)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in its place also where a resumed run has nothing left to train."""
        self.on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in its place."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with weights and average; a test reads the average alone."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
