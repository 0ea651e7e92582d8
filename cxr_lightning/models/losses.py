"""Losses that answer unequal class sizes. All take logits (B, C) and labels (B,)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.instantiate import build, parameters


def build_loss(node: dict[str, Any], class_counts: Sequence[int]) -> nn.Module:
    """The loss of a `_target_` node, tried once.

    `class_counts`, the training images of each class, is passed where the loss names it.

    Raises:
        ConfigError: it cannot be built, or does not turn logits and labels into a finite number.
    """
    counts = {"class_counts": list(class_counts)} if "class_counts" in parameters(node) else {}
    loss: nn.Module = build(node, **counts)
    target, n_classes = node["_target_"], len(class_counts)
    try:
        value = loss(torch.linspace(-1, 1, 2 * n_classes).view(2, -1), torch.tensor([0, 1]))
    except Exception as error:  # whatever a loss that somebody wrote may raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"The loss `{target}` cannot be called on logits (2, {n_classes}) and labels (2,), "
            f"class indices: {reason}."
        ) from error
    if not isinstance(value, Tensor) or value.ndim or not value.isfinite():
        returned = f"{value.tolist()}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(
            f"The loss `{target}` must return one finite number per batch, a tensor of shape (); "
            f"for logits (2, {n_classes}) it returned {returned}."
        )
    return loss


def inverse_frequency(class_counts: Sequence[int]) -> Tensor:
    """Weight of class k: N / (C · n_k), so that the mean weight of an image is 1.

    King & Zeng, Political Analysis 9 (2001) 137, section 3.2.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return counts.sum() / (len(counts) * counts)


class ClassWeightedLoss(nn.CrossEntropyLoss):
    """Cross-entropy weighted by `inverse_frequency`; the batch's mean is by weight, as torch's."""

    def __init__(self, class_counts: list[int], label_smoothing: float = 0.0) -> None:
        super().__init__(inverse_frequency(class_counts), label_smoothing=label_smoothing)


class FocalLoss(nn.Module):
    """Mean of -(1 - p)^γ · log p, p the probability of the true class: easy images count less.

    Lin et al., ICCV 2017, equation 4. γ = 0 is cross-entropy.
    """

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


class LogitAdjustedLoss(nn.Module):
    """Cross-entropy of logits + τ · log π, π the training share of each class.

    The network learns what the class share does not explain, so its own logits, used unadjusted,
    aim at the balanced error. Menon et al., ICLR 2021, equation 10. τ = 0 is cross-entropy.
    """

    adjustment: Tensor

    def __init__(
        self, class_counts: list[int], tau: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if tau < 0:
            raise ConfigError(f"tau should be greater than or equal to 0 (got {tau}).")
        counts = torch.tensor(class_counts, dtype=torch.float32)
        self.label_smoothing = label_smoothing
        self.register_buffer("adjustment", tau * (counts / counts.sum()).log(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        adjusted = logits + self.adjustment
        return F.cross_entropy(adjusted, labels, label_smoothing=self.label_smoothing)
