"""TensorBoard's HPARAMS tab: what distinguishes runs, beside their final test metrics."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

SUMMARY_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "mcc")


class HParams(Callback):
    """Announces the hyper-parameters and final metrics once, at the start of training.

    The test's own logging fills the metrics in, under the same names and in the same event file.
    """

    def __init__(self, hparams: dict[str, Any], classes: tuple[str, ...]) -> None:
        self.hparams = hparams
        self.metrics = [f"test/{name}" for name in SUMMARY_METRICS]
        self.metrics += [f"test/recall/{name}" for name in classes]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write TensorBoard's experiment summary."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.hparams, dict.fromkeys(self.metrics, float("nan")))
            else:
                logger.log_hyperparams(self.hparams)
