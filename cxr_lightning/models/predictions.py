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
        self._grown: dict[str, Tensor] = {}

    def update(self, logits: Tensor, labels: Tensor, rows: Tensor, loss: Tensor) -> None:
        """Logits (B, C), labels (B,) and table rows (B,) of a batch, and its mean loss."""
        self.loss = self.loss.to(loss.device) + loss.detach() * len(labels)
        for name, values in (("rows", rows), ("labels", labels), ("logits", logits.detach())):
            self._append(name, values)

    def _append(self, name: str, values: Tensor) -> None:
        """Copy `values` behind those that are there, into a buffer that doubles when it is full.

        Kept as they are, the small tensors of every batch would lie scattered among the freed
        activations, which then fit nowhere: the process would grow with each step.
        """
        there = getattr(self, name)
        n = len(there[0]) if there else 0
        buffer = self._grown.get(name)
        if buffer is None or buffer.device != values.device or len(buffer) < n + len(values):
            dtype = torch.float32 if values.is_floating_point() else values.dtype
            shape = (2 * (n + len(values)), *values.shape[1:])
            buffer = torch.empty(shape, dtype=dtype, device=values.device)
            if n:
                buffer[:n] = there[0]
            self._grown[name] = buffer
        buffer[n : n + len(values)] = values
        setattr(self, name, [buffer[: n + len(values)]])

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
