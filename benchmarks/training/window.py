"""Which steps of an epoch are timed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WARMUP_IMAGES, LATER_STEPS = 128, 4  # two workers are two batches each ahead


@dataclass(frozen=True)
class Window:
    """The steps in the middle of an epoch that are timed.

    Before them, memory is allocated and the loader's workers start; after them, workers have
    nothing more to load and the last steps would have the processor to themselves.
    """

    measured: int
    batch_size: int

    @classmethod
    def of(cls, n_images: int, batch_size: int) -> "Window":
        """At least `n_images` timed images, and at least two steps."""
        return cls(max(2, math.ceil(n_images / batch_size)), batch_size)

    @property
    def before(self) -> int:
        """Steps to warm up."""
        return math.ceil(WARMUP_IMAGES / self.batch_size)

    @property
    def steps(self) -> int:
        """All steps of the epoch."""
        return self.before + self.measured + LATER_STEPS

    @property
    def epoch_images(self) -> int:
        """Images of the whole epoch, all batches full."""
        return self.steps * self.batch_size

    def seconds_per_image(self, ends: Sequence[float]) -> float:
        """From the clock at each batch's end: last untimed to last timed batch, over the images.

        Raises ValueError if the epoch had fewer steps than planned.
        """
        first, last = self.before - 1, self.before - 1 + self.measured
        if len(ends) < self.steps:
            raise ValueError(f"{len(ends)} steps, but {self.steps} were planned.")
        return (ends[last] - ends[first]) / (self.measured * self.batch_size)
