"""Which image comes next, the same for every number of workers and ranks that share a seed."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

Draw = tuple[int, int]
"""Position of an image in its split, and the seed of its augmentation."""


class TrainSampler(Sampler[Draw]):
    """Draws positions and augmentation seeds from (seed, epoch) alone.

    Loader workers, and a run resumed at an epoch's start, therefore see the same images, augmented
    the same way. Without `weights` an epoch is a permutation; with them, as many draws with
    replacement, each position with probability proportional to its weight. Ranks take every
    world_size-th draw; draws that would leave some ranks a batch short are left out.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        weights: Sequence[float] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.length, self.seed = length, seed
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        # Seeds of neighbouring epochs must not collide with those of neighbouring runs.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.weights is None:
            positions = torch.randperm(self.length, generator=generator)
        else:
            positions = torch.multinomial(self.weights, self.length, True, generator=generator)
        seeds = torch.randint(2**62, (self.length,), generator=generator)
        own = slice(self.rank, len(self) * self.world_size, self.world_size)
        yield from zip(positions[own].tolist(), seeds[own].tolist(), strict=True)


class EvaluationSampler(Sampler[Draw]):
    """Every position once over all ranks: nothing repeated to make ranks equal, nothing dropped."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.positions = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[Draw]:
        return ((position, 0) for position in self.positions)
