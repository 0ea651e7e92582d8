"""Predictions of an epoch, gathered over batches and ranks; their metrics have one definition."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cxr_lightning.errors import TrainingError
from cxr_lightning.metrics import compute_metrics


@dataclass(frozen=True)
class Predictions:
    """What a network said of n images."""

    rows: npt.NDArray[np.int64]  # (n,), of the datamodule's table, ascending
    labels: npt.NDArray[np.int64]  # (n,)
    probabilities: npt.NDArray[np.float64]  # (n, C), softmax of the logits

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class, int64 (n,)."""
        return self.probabilities.argmax(axis=1)  # type: ignore[no-any-return]


class EpochPredictions(Metric):
    """Collects a split's predictions; `compute` gives every metric of `cxr_lightning.metrics`."""

    full_state_update = False
    rows: list[Tensor]
    labels: list[Tensor]
    logits: list[Tensor]
    loss: Tensor
    collected: Predictions  # of the last `compute`

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        for name in ("rows", "labels", "logits"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.add_state("loss", default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, rows: Tensor, loss: Tensor) -> None:
        """Logits (B, C), labels (B,) and table rows (B,) of a batch, and its mean loss."""
        self.loss = self.loss.to(loss.device) + loss.detach() * len(labels)
        self.logits.append(logits.detach().float())
        self.labels.append(labels)
        self.rows.append(rows)

    def compute(self) -> dict[str, float]:
        """Metric name → value (nan where undefined), over all ranks; `loss` is a mean of images."""
        rows = dim_zero_cat(self.rows).cpu().numpy()
        order = np.argsort(rows, kind="stable")
        labels = dim_zero_cat(self.labels).cpu().numpy()[order]
        logits = dim_zero_cat(self.logits).cpu().double()
        if not logits.isfinite().all():
            raise TrainingError(
                "The training diverged: the network's outputs are not finite. Lower optim.lr, or "
                "compute in full precision (trainer.precision=32-true)."
            )
        probabilities = torch.softmax(logits, dim=1).numpy()[order]
        self.collected = Predictions(rows[order], labels, probabilities)
        values = compute_metrics(labels, probabilities, self.classes).items()
        return {"loss": float(self.loss) / len(labels)} | {k: float(v[0]) for k, v in values}
