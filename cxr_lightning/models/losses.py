"""Losses that answer unequal class sizes.

All take logits (B, C) and labels (B,) or, of mixed images, shares of the classes (B, C).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.instantiate import build, parameters


def build_loss(
    node: dict[str, Any], class_counts: Sequence[int], takes_shares: bool = False
) -> nn.Module:
    """The loss of a `_target_` node; `class_counts` (training images) goes where it is named.

    Raises `ConfigError` where it cannot turn logits and labels into a finite number; with
    `takes_shares` the labels are shares of the classes, as mixed images have them.
    """
    counts = {"class_counts": list(class_counts)} if "class_counts" in parameters(node) else {}
    loss: nn.Module = build(node, **counts)
    n_classes, labels = len(class_counts), torch.arange(2)
    wanted = "labels (2,), class indices,"
    if takes_shares:
        labels = torch.full((2, n_classes), 1 / n_classes)
        wanted = f"shares of the classes (2, {n_classes}), which mixed images have,"
    what = f"The loss `{node['_target_']}` must turn logits (2, {n_classes}) and {wanted}"
    try:
        value = loss(torch.linspace(-1, 1, 2 * n_classes).view(2, -1), labels)
    except Exception as error:  # whatever a loss that somebody wrote may raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"{what} into a number; it fails: {reason}.") from error
    if not isinstance(value, Tensor) or value.ndim or not value.isfinite():
        returned = value.tolist() if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{what} into one finite number per batch; it returned {returned}.")
    return loss


def shares(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Labels (B,) as shares of classes (B, C), `smoothing` of them spread over all classes.

    The labels of mixed images are shares already.
    """
    share = labels
    if labels.ndim == 1:  # F.one_hot would look at the values, and wait for the device
        share = labels[:, None] == torch.arange(num_classes, device=labels.device)
        share = share.float()
    return share * (1 - smoothing) + smoothing / num_classes


def inverse_frequency(class_counts: Sequence[int]) -> Tensor:
    """Weight of class k: N / (C · n_k); an image's mean weight is 1.

    King & Zeng, Political Analysis 9 (2001) 137, section 3.2.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return counts.sum() / (len(counts) * counts)


def effective_number_weights(class_counts: Sequence[int], beta: float) -> Tensor:
    """Weight of class k: (1 - β) / (1 - β^n_k), scaled so that an image's mean weight is 1.

    β = 0 gives equal weights, β → 1 those of `inverse_frequency`. Cui et al., CVPR 2019, eq. 3.
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"beta should be at least 0 and less than 1 (got {beta}).")
    counts = torch.tensor(class_counts, dtype=torch.float64)
    weights = (1 - beta) / (1 - beta**counts)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Mean of the images' cross-entropies by the weights of their classes, labels smoothed evenly.

    Without smoothing this is torch's. With it, torch also weights the doubt, class by class: for an
    image of a frequent class, nearly as much would go to a rare class as to its own.

    In a training on several ranks, which average their gradients, the weights of all ranks' images
    are summed up, so that the step is that of one process with all of them.
    """
    share = shares(labels, logits.shape[1])
    weight = share.to(weights.dtype) @ weights
    smoothed = shares(labels, logits.shape[1], smoothing).to(logits.dtype)
    losses = F.cross_entropy(logits, smoothed, reduction="none")
    total = weight.sum()
    if logits.requires_grad and dist.is_initialized():  # in validation ranks may differ in batches
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return (weight * losses).sum() / total


class ClassWeightedLoss(nn.Module):
    """`weighted_cross_entropy` by `inverse_frequency`."""

    weights: Tensor

    def __init__(self, class_counts: list[int], label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", inverse_frequency(class_counts), persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        return weighted_cross_entropy(logits, labels, self.weights, self.label_smoothing)


class EffectiveNumberLoss(ClassWeightedLoss):
    """`weighted_cross_entropy` by `effective_number_weights`."""

    def __init__(
        self, class_counts: list[int], beta: float = 0.999, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(class_counts, label_smoothing)
        self.weights = effective_number_weights(class_counts, beta)


class LDAMLoss(nn.Module):
    """Label-distribution-aware margins, with weights of the classes from a later epoch on (DRW).

    The true class's logit is lowered by a margin ∝ n_k^(-1/4), the rarest class's by `max_margin`,
    before cross-entropy at `scale`. From the share `reweight_from` of the training on, images count
    by `effective_number_weights`. Cao et al., NeurIPS 2019, equation 13 and algorithm 1; they
    normalise features and weights of the last layer, which is left out here, so the scale is 1.
    """

    margins: Tensor
    late_weights: Tensor

    def __init__(
        self,
        class_counts: list[int],
        *,
        max_margin: float = 0.5,
        scale: float = 1.0,
        reweight_from: float = 0.8,
        beta: float = 0.9999,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        counts = torch.tensor(class_counts, dtype=torch.float32)
        margins = max_margin * (counts.min() / counts) ** 0.25
        self.register_buffer("margins", margins, persistent=False)
        weights = effective_number_weights(class_counts, beta)
        self.register_buffer("late_weights", weights, persistent=False)
        self.scale, self.reweight_from = scale, reweight_from
        self.label_smoothing, self.progress = label_smoothing, 0.0

    def set_progress(self, share: float) -> None:
        """Which share of the training is over, 0 to 1; called at the start of each epoch."""
        self.progress = share

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        late = self.progress >= self.reweight_from
        weights = self.late_weights if late else torch.ones_like(self.late_weights)
        lowered = self.scale * (logits - shares(labels, logits.shape[1]) * self.margins)
        return weighted_cross_entropy(lowered, labels, weights, self.label_smoothing)


class FocalLoss(nn.Module):
    """Mean of -(1 - p)^γ · log p, p of the true class (Lin et al., ICCV 2017, equation 4)."""

    def __init__(self, gamma: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"gamma should be greater than or equal to 0 (got {gamma}).")
        self.gamma, self.label_smoothing = gamma, label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        log_p = F.log_softmax(logits, dim=1)
        # For γ < 1 the power's slope at p = 1 is infinite, and times 0 it would be nan.
        missing = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).eps)
        share = shares(labels, logits.shape[1], self.label_smoothing)
        return -(share * missing**self.gamma * log_p).sum(dim=1).mean()


class LogitAdjustedLoss(nn.Module):
    """Cross-entropy of logits + τ · log π, π the training share of each class.

    The network's own logits, used unadjusted, then aim at the balanced error. Menon et al., ICLR
    2021, equation 10. Smoothed labels are spread by π^τ, not evenly: without the adjustment every
    class then keeps the same share of doubt; spread evenly, a rare class would get nearly all.
    """

    adjustment: Tensor

    def __init__(
        self, class_counts: list[int], tau: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if tau < 0:
            raise ConfigError(f"tau should be greater than or equal to 0 (got {tau}).")
        counts = torch.tensor(class_counts, dtype=torch.float32)
        self.register_buffer("adjustment", tau * (counts / counts.sum()).log(), persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        share = shares(labels, logits.shape[1]) * (1 - self.label_smoothing)
        smoothed = share + self.label_smoothing * self.adjustment.softmax(dim=0)
        return F.cross_entropy(logits + self.adjustment, smoothed)
