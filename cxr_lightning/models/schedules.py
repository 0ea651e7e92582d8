"""Schedules of the learning rate that torch has only in parts."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float) -> SequentialLR:
    """The rate climbs in a line over the share `warmup` of all steps, then falls as a cosine to 0.

    Goyal et al., arXiv:1706.02677, section 2.2; Loshchilov & Hutter, ICLR 2017, equation 5.
    """
    n_first = max(1, round(warmup * total_steps))
    first = LinearLR(optimizer, start_factor=1 / (n_first + 1), total_iters=n_first)
    then = CosineAnnealingLR(optimizer, T_max=max(1, total_steps - n_first))
    return SequentialLR(optimizer, [first, then], milestones=[n_first])
