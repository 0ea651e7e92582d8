"""What TensorBoard shows besides a run's curves and figures."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

from cxr_lightning.models.predictions import Predictions

if TYPE_CHECKING:
    from cxr_lightning.models.classifier import Classifier

Floats = NDArray[np.float64]
N_THRESHOLDS = 127  # what TensorBoard's own functions use
SUMMARY_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "mcc")


def writers(trainer: Trainer) -> Iterator[SummaryWriter]:
    """TensorBoard's writers among the run's loggers."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield logger.experiment


class Dashboard(Callback):
    """Writes what needs no results, when the training starts.

    HPARAMS: what distinguishes runs, beside their final test metrics, which the test fills in later
    under the same names. CUSTOM SCALARS: one chart per curve, with all runs. TEXT: the whole
    configuration.
    """

    def __init__(
        self, hparams: dict[str, Any], config: dict[str, Any], classes: Sequence[str], has_val: bool
    ) -> None:
        self.hparams, self.config = hparams, config
        self.metrics = [f"test/{name}" for name in SUMMARY_METRICS]
        self.metrics += [f"test/recall/{name}" for name in classes]
        self.layout = layout(classes, has_val)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all three."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.hparams, dict.fromkeys(self.metrics, float("nan")))
            else:
                logger.log_hyperparams(self.hparams)
        if trainer.is_global_zero:
            text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
            for writer in writers(trainer):
                writer.add_custom_scalars(self.layout)
                writer.add_text("configuration", f"```yaml\n{text}```")


def layout(classes: Sequence[str], has_val: bool) -> dict[str, Any]:
    """The charts of CUSTOM SCALARS, one line per run; without validation, those of training."""
    split, of = ("val", "validation") if has_val else ("train", "training")

    def chart(tag: str) -> list[Any]:
        return ["Multiline", [f"^{re.escape(tag)}$"]]

    curves = {"training loss": "train/loss", f"{of} loss": f"{split}/loss"}
    curves[f"{of} macro F1"] = f"{split}/f1_macro"
    return {
        "Loss and macro F1": {title: chart(tag) for title, tag in curves.items()},
        f"Recall by class, {of}": {name: chart(f"{split}/recall/{name}") for name in classes},
    }


class AfterEvaluation(Callback):
    """Shows the predictions of a split after each validation and after the test."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show those of the validation images: in TensorBoard alone, so not without it."""
        if not trainer.sanity_checking and any(writers(trainer)):
            self._show(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show those of the test images."""
        self._show(trainer, pl_module, "test")

    @rank_zero_only
    def _show(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        predictions = cast("Classifier", pl_module).predictions[split]
        self.show(trainer, predictions, pl_module.hparams["classes"], split)

    def show(
        self, trainer: Trainer, predictions: Predictions, classes: list[str], split: str
    ) -> None:
        """Draw or write something; called on the first process only."""
        raise NotImplementedError


class PrCurves(AfterEvaluation):
    """One precision-recall curve per class, one-vs-rest: `<split>/pr_curve/<class>`."""

    def show(
        self, trainer: Trainer, predictions: Predictions, classes: list[str], split: str
    ) -> None:
        """Add the curves to TensorBoard."""
        for writer in writers(trainer):
            for k, name in enumerate(classes):
                curve = pr_curve(predictions.labels == k, predictions.probabilities[:, k])
                tag = f"{split}/pr_curve/{name}"
                tp, fp, tn, fn, precision, recall = curve
                writer.add_pr_curve_raw(
                    tag, tp, fp, tn, fn, precision, recall, trainer.current_epoch, N_THRESHOLDS
                )


def pr_curve(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[Floats, ...]:
    """Precision-recall curve of scores (n,) at 127 thresholds from 0 to 1, as TensorBoard takes it.

    Returns true and false positives, true and false negatives, precision and recall, (127,) each.
    Where nothing is called positive, precision is 1, as in scikit-learn; `add_pr_curve` draws 0.
    """
    thresholds = np.linspace(0, 1, N_THRESHOLDS)
    tp, fp = (
        np.float64(len(part)) - np.searchsorted(np.sort(part), thresholds, side="left")
        for part in (scores[positive], scores[~positive])
    )
    fn, tn = tp[0] - tp, fp[0] - fp
    precision = np.divide(tp, tp + fp, out=np.ones(N_THRESHOLDS), where=tp + fp > 0)
    return tp, fp, tn, fn, precision, tp / max(tp[0], 1.0)
