"""What a sweep shows: each cell's mean, each factor's effect, and every pair of cells."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from cxr_lightning.metrics import (
    FEWEST_PATIENTS,
    Floats,
    clopper_pearson,
    compute_metrics,
    has_few_patients,
    resample_patients,
)
from cxr_lightning.sweeps.cells import Cell, Seed, cell_name
from cxr_lightning.sweeps.contrasts import Contrast, Interval, Sample, contrast, holm, sign_flip

ALL_PAIRS_UP_TO = 8  # cells: 28 pairs; of more, those with the best cell are shown


@dataclass(frozen=True)
class SameTests:
    """Cells that were tested on the same images, of the same classes and patients."""

    cells: list[Cell]
    n_resamples: int

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return self.cells[0].classes

    @cached_property
    def images(self) -> dict[str, tuple[str, str]]:
        """Path to patient and class, of every image."""
        return {p: (g, k) for seed in self.cells[0].seeds for _, p, g, k in seed.tests}

    @cached_property
    def patients(self) -> list[str]:
        """The patients, each once."""
        return sorted({patient for patient, _ in self.images.values()})

    @cached_property
    def largest_class(self) -> tuple[str, float]:
        """The most frequent class, and how often always answering it is right."""
        counts = np.bincount(np.concatenate([seed.labels for seed in self.cells[0].seeds]))
        return self.classes[int(counts.argmax())], float(counts.max() / counts.sum())

    @property
    def metrics(self) -> list[str]:
        """The metrics in `samples`: those that are compared or shown with an interval."""
        return ["accuracy", "f1_macro", *(f"recall/{name}" for name in self.classes)]

    @cached_property
    def samples(self) -> dict[str, dict[str, Sample]]:
        """Metric to cell name to its values and their bootstrap, the same patients for all."""
        resampled = {
            cell.name: [self._resampled(seed) for seed in cell.seeds] for cell in self.cells
        }
        return {
            metric: {
                cell.name: Sample(
                    cell.values_of[metric], np.stack([m[metric] for m in resampled[cell.name]])
                )
                for cell in self.cells
            }
            for metric in self.metrics
        }

    def _resampled(self, seed: Seed) -> dict[str, Floats]:
        """Each metric in every resample, (R,)."""
        row_of = {patient: i for i, patient in enumerate(self.patients)}
        rows = [row_of[patient] for patient in seed.patients]
        parts = [
            compute_metrics(
                seed.labels, seed.probabilities, self.classes, w[:, rows], ranking=False
            )
            for times in resample_patients(self.patients, self.n_resamples, seed=0)
            # An image that several splits test has several rows: keep the weights' memory bounded.
            for w in np.array_split(times, min(len(times), -(-len(rows) // len(row_of))))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.metrics}


@dataclass(frozen=True)
class Effect:
    """What changing a factor from its first level to another does, over `pairs` matched cells."""

    name: str
    pairs: int
    accuracy: Contrast
    f1_macro: Contrast


@dataclass(frozen=True)
class Comparison:
    """Two cells on the same tests: difference of accuracy (first - second) and its one p.

    test: how p was found. p: None where it cannot be estimated; it counts as 1 for p_holm, which is
    corrected for all pairs of the sweep's cells. n: images.
    """

    first: str
    second: str
    difference: Contrast
    test: str
    is_of_networks: bool
    p: float | None
    p_holm: float
    n: int

    @property
    def sentence(self) -> str:
        """The result in words, at the 5% level after Holm's correction."""
        points = f"{100 * abs(self.difference.value):.1f} points"
        both = f"“{self.first}” and “{self.second}”"
        if self.p is None and self.difference.value:
            return f"{both} differ by {points}; how much of it is chance cannot be estimated."
        if self.p_holm >= 0.05:
            return f"{both} cannot be distinguished with {self.n} test images."
        better, worse = (
            (self.first, self.second) if self.difference.value > 0 else (self.second, self.first)
        )
        result = f"“{better}” is more accurate than “{worse}”, by {points}."
        return f"Of these networks, {result}" if self.is_of_networks else result


def same_tests(cells: Sequence[Cell], n_resamples: int) -> list[SameTests]:
    """The cells that have a whole seed, by what they were tested on, in the order of the cells."""
    sets: dict[object, list[Cell]] = {}
    for cell in cells:
        if cell.seeds:
            tests = frozenset(seed.tests for seed in cell.seeds)
            sets.setdefault((tuple(cell.classes), tests), []).append(cell)
    return [SameTests(members, n_resamples) for members in sets.values()]


def mean_intervals(tested: SameTests) -> dict[str, dict[str, Interval]]:
    """Cell name to metric to mean over seeds with its interval."""
    return {c.name: {m: _mean(tested, c, m) for m in tested.metrics} for c in tested.cells}


def _mean(tested: SameTests, cell: Cell, metric: str) -> Interval:
    """A cell's mean over its seeds, within the bounds of the metric (0 to 1).

    accuracy and recall/k with fewer than ten patients who have an error, or a success, in one of
    the seeds: Clopper-Pearson on patients, as in `metrics.estimate`; with seeds, no narrower than
    what their spread gives.
    """
    mean = contrast(tested.samples[metric], {cell.name: 1.0}, len(tested.patients))
    limits = [limit for limit in (mean.low, mean.high) if limit is not None]
    name, _, of_class = metric.partition("/")
    if name != "f1_macro" and not np.isnan(mean.value):
        few, n = False, 0
        for seed in cell.seeds:
            concerned = np.ones(len(seed.labels), dtype=bool)
            if of_class:
                concerned = seed.labels == tested.classes.index(of_class)
            patients = np.array(seed.patients)[concerned]
            few |= has_few_patients(patients, (seed.predicted == seed.labels)[concerned])
            n = max(n, len(set(patients)))
        if few:
            exact = clopper_pearson(mean.value * n, n)
            limits = [*exact, *(limits if len(cell.seeds) > 1 else [])]
    elif name == "f1_macro" and 1 in Counter(k for _, k in set(tested.images.values())).values():
        limits = []  # a class of one patient: a bootstrap cannot draw another
    if not limits:
        return Interval(mean.value, None, None)
    return Interval(mean.value, max(0.0, min(limits)), min(1.0, max(limits)))


def effects(tested: SameTests, suffix: str = "") -> list[Effect]:
    """Every level of every factor against the factor's first level, over matched cells.

    suffix: what is added to the names, to tell one set of test images from another.
    """
    found, cells = [], tested.cells
    for factor in dict.fromkeys(key for cell in cells for key in cell.values):
        first, *others = dict.fromkeys(cell.values.get(factor, "") for cell in cells)
        for level in others:
            matched = _matched(cells, factor, first, level)
            if not matched:
                continue
            weights: dict[str, float] = {}
            for reference, other in matched:
                weights[other.name] = 1 / len(matched)
                weights[reference.name] = -1 / len(matched)
            accuracy, f1_macro = (
                contrast(tested.samples[metric], weights, len(tested.patients))
                for metric in ("accuracy", "f1_macro")
            )
            name = f"{factor}: {first} → {level}{suffix}"
            found.append(Effect(name, len(matched), accuracy, f1_macro))
    return found


def comparisons(sets: Sequence[SameTests]) -> list[Comparison]:
    """Every pair of cells that were tested on the same images, with Holm's correction for all.

    Of many cells, only the pairs with the best one are returned: the best by validation, or by test
    accuracy where a cell has no validation images. The correction counts every pair, so that it
    does not matter which were chosen.
    """
    pairs = [(tested, *pair) for tested in sets for pair in combinations(tested.cells, 2)]
    compared = [_difference(*pair) for pair in pairs]
    adjusted = holm([1.0 if p is None else p for _, _, p in compared])
    found = []
    for (tested, first, second), (difference, test, p), p_holm in zip(
        pairs, compared, adjusted, strict=True
    ):
        if len(tested.cells) <= ALL_PAIRS_UP_TO or _best(tested.cells) in (first, second):
            names, is_single = (first.name, second.name), 1 in (len(first.seeds), len(second.seeds))
            n = len(tested.images)
            found.append(Comparison(*names, difference, test, is_single, p, p_holm, n))
    return found


def _best(cells: Sequence[Cell]) -> Cell:
    if any(np.isnan(cell.validation) for cell in cells):
        return max(cells, key=lambda cell: float(cell.values_of["accuracy"].mean()))
    return max(cells, key=lambda cell: cell.validation)


def _difference(tested: SameTests, first: Cell, second: Cell) -> tuple[Contrast, str, float | None]:
    """First less second with its interval, the name of the test, and its p."""
    weights, n_patients = {first.name: 1.0, second.name: -1.0}, len(tested.patients)
    difference = contrast(tested.samples["accuracy"], weights, n_patients)
    if len(first.seeds) > 1 or len(second.seeds) > 1:
        return difference, "t contrast", difference.p
    (one,), (other,) = first.seeds, second.seeds
    won = (one.predicted == one.labels).astype(np.int64) - (other.predicted == other.labels)
    by_patient = np.zeros(n_patients, dtype=np.int64)
    np.add.at(by_patient, np.unique(one.patients, return_inverse=True)[1], won)
    if np.count_nonzero(by_patient) < FEWEST_PATIENTS:
        # A bootstrap cannot draw what it has not seen.
        difference = Contrast(difference.value, None, None, None)
    test = "McNemar, exact" if n_patients == len(won) else "sign flip by patient, exact"
    return difference, test, sign_flip(by_patient)


def _matched(
    cells: Sequence[Cell], factor: str, reference: str, level: str
) -> list[tuple[Cell, Cell]]:
    """Pairs of cells that differ in the factor alone."""

    def others(cell: Cell) -> str:
        return cell_name({k: v for k, v in cell.values.items() if k != factor})

    of_level = {others(cell): cell for cell in cells if cell.values.get(factor, "") == level}
    return [
        (cell, of_level[others(cell)])
        for cell in cells
        if cell.values.get(factor, "") == reference and others(cell) in of_level
    ]
