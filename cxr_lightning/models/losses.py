"""Losses that answer unequal class sizes. All take logits (B, C) and labels (B,)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.instantiate import build, parameters


def build_loss(node: dict[str, Any], class_counts: Sequence[int]) -> nn.Module:
    """The loss of a `_target_` node; `class_counts` (training images) goes where it is named.

    Raises `ConfigError` where it cannot turn logits and labels into a finite number.
    """
    counts = {"class_counts": list(class_counts)} if "class_counts" in parameters(node) else {}
    loss: nn.Module = build(node, **counts)
    what = (
        f"The loss `{node['_target_']}` must turn logits (2, {len(class_counts)}) and labels (2,)"
    )
    try:
        value = loss(torch.linspace(-1, 1, 2 * len(class_counts)).view(2, -1), torch.arange(2))
    except Exception as error:  # whatever a loss that somebody wrote may raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"{what}, class indices, into a number; it fails: {reason}.") from error
    if not isinstance(value, Tensor) or value.ndim or not value.isfinite():
        returned = value.tolist() if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{what} into one finite number per batch; it returned {returned}.")
    return loss


def inverse_frequency(class_counts: Sequence[int]) -> Tensor:
    """Weight of class k: N / (C · n_k); an image's mean weight is 1.

    King & Zeng, Political Analysis 9 (2001) 137, section 3.2.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return counts.sum() / (len(counts) * counts)


class ClassWeightedLoss(nn.CrossEntropyLoss):
    """Cross-entropy weighted by `inverse_frequency`; the batch's mean is by weight, as torch's."""

    def __init__(self, class_counts: list[int], label_smoothing: float = 0.0) -> None:
        super().__init__(inverse_frequency(class_counts), label_smoothing=label_smoothing)


class FocalLoss(nn.Module):
    """Mean of -(1 - p)^γ · log p, p of the true class (Lin et al., ICCV 2017, equation 4)."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"gamma should be greater than or equal to 0 (got {gamma}).")
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
        # For γ < 1 the power's slope at p = 1 is infinite, and times 0 it would be nan.
        missing = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).eps)
        return -(missing**self.gamma * log_p).mean()


class LogitAdjustedLoss(nn.CrossEntropyLoss):
    """Cross-entropy of logits + τ · log π, π the training share of each class.

    The network's own logits, used unadjusted, then aim at the balanced error. Menon et al., ICLR
    2021, equation 10.
    """

    adjustment: Tensor

    def __init__(
        self, class_counts: list[int], tau: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(label_smoothing=label_smoothing)
        if tau < 0:
            raise ConfigError(f"tau should be greater than or equal to 0 (got {tau}).")
        counts = torch.tensor(class_counts, dtype=torch.float32)
        self.register_buffer("adjustment", tau * (counts / counts.sum()).log(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        return super().forward(logits + self.adjustment, labels)
