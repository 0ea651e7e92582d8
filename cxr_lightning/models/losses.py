"""Losses that answer unequal class sizes. All take logits (B, C) and labels (B,)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxr_lightning.config import ImbalanceConfig


def build_loss(imbalance: ImbalanceConfig, class_counts: Sequence[int]) -> nn.Module:
    """The loss for `imbalance`; `class_counts` are the training images a class.

    `none` and `balanced_sampler` (which acts on the loader) use plain cross-entropy.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    match imbalance.name:
        case "class_weights":
            return nn.CrossEntropyLoss(weight=inverse_frequency(counts))
        case "focal":
            return FocalLoss(imbalance.gamma)
        case "logit_adjustment":
            return LogitAdjustedLoss(counts, imbalance.tau)
        case _:
            return nn.CrossEntropyLoss()


def inverse_frequency(counts: Tensor) -> Tensor:
    """Weight of class k: N / (C · n_k), so that the mean weight of an image is 1.

    King & Zeng, Political Analysis 9 (2001) 137, section 3.2. torch divides a batch's weighted sum
    by the sum of its weights.
    """
    return counts.sum() / (len(counts) * counts)


class FocalLoss(nn.Module):
    """Mean of -(1 - p)^γ · log p, p the probability of the true class: easy images count less.

    Lin et al., ICCV 2017, equation 4. γ = 0 is cross-entropy.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
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

    def __init__(self, counts: Tensor, tau: float) -> None:
        super().__init__()
        self.register_buffer("adjustment", tau * (counts / counts.sum()).log(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and labels (B,) to a scalar."""
        return F.cross_entropy(logits + self.adjustment, labels)
