"""An exported network beside its checkpoint: the same answers, at what speed."""

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cxr_lightning.deploy.films import Films
from cxr_lightning.deploy.formats import Pixels, Probabilities, Runner
from cxr_lightning.errors import CheckpointError

BOUND = 1e-4  # the largest difference between two probabilities that is allowed
ROUNDS, ROUND_S = 7, 0.1


@dataclass(frozen=True)
class Same:
    """What the comparison found on n films; it is kept only where all decisions are equal."""

    n: int
    films: str
    largest_difference: float
    bound: float = BOUND
    decisions: str = "all equal"


@dataclass(frozen=True)
class Speed:
    """Images per second of torch and of the exported file at one batch size."""

    batch_size: int
    torch_images_per_s: float
    exported_images_per_s: float

    @property
    def ratio(self) -> float:
        """How many times as fast as torch the exported file is."""
        return self.exported_images_per_s / self.torch_images_per_s


def probabilities(runner: Runner, images: Pixels, batch_size: int) -> Probabilities:
    """Those of all images, (n, C), in batches of which the last may be smaller."""
    return np.concatenate([runner(part) for part in _batches(images, batch_size)])


def check_same(expected: Probabilities, found: Probabilities, films: Films, file_name: str) -> Same:
    """Both (n, C). Raises `CheckpointError` where a probability is off by `BOUND` or more.

    Or where a film's most probable class is another one. What is not a number is off.
    """
    off = np.abs(expected.astype(np.float64) - found).max(axis=1)
    is_other = expected.argmax(axis=1) != found.argmax(axis=1)
    wrong = ~(off < BOUND) | is_other
    if wrong.any():
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        raise CheckpointError(
            f"{file_name} is not kept: it differs from the checkpoint on {wrong.sum()} of "
            f"{len(off)} films ({is_other.sum()} decisions); by {off[worst]:.2g} on "
            f"{films.names[worst]}, where less than {BOUND:g} is allowed."
        )
    return Same(len(off), films.are, float(off.max()))


def compare_speed(
    torch_runner: Runner, exported: Runner, images: Pixels, batch_size: int
) -> list[Speed]:
    """Single images, and batches; medians of rounds in which the two take turns."""
    speeds = []
    for size in dict.fromkeys([1, batch_size]):
        batch = np.resize(images, (size, *images.shape[1:]))
        taken = _seconds({"torch": torch_runner, "exported": exported}, batch)
        speeds.append(Speed(size, size / taken["torch"], size / taken["exported"]))
    return speeds


def _seconds(runners: Mapping[str, Runner], batch: Pixels) -> dict[str, float]:
    """The median seconds of one call of each."""
    repeats = {}
    for name, runner in runners.items():
        runner(batch)  # the first call prepares
        start = time.perf_counter()
        runner(batch)
        repeats[name] = math.ceil(ROUND_S / max(time.perf_counter() - start, 1e-6))
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, runner in runners.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                runner(batch)
            taken[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _batches(images: Pixels, size: int) -> Iterator[Pixels]:
    for start in range(0, len(images), size):
        yield images[start : start + size]
