"""What a sweep shows: each cell's mean, each factor's effect, and every pair of cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations

import numpy as np
import pandas as pd

from cxr_lightning import metrics
from cxr_lightning.contrasts import Interval, contrast, holm, sign_flip
from cxr_lightning.metrics import Floats
from cxr_lightning.sweeps.cells import Cell, Seed

ALL_PAIRS_UP_TO = 8  # cells: 28 pairs; of more, those with the best cell are shown
COMPARED = {"accuracy": "accuracy", "f1_macro": "macro F1"}


@dataclass(frozen=True)
class SameTests:
    """Cells that were tested on the same images, of the same classes and patients."""

    cells: list[Cell]
    n_resamples: int

    @cached_property
    def images(self) -> pd.DataFrame:
        """Path, group (the patient) and label of every image."""
        return pd.concat([s.tests for s in self.cells[0].seeds]).drop_duplicates("path")

    @cached_property
    def patients(self) -> list[str]:
        """The patients, each once."""
        return sorted(set(self.images["group"]))

    @cached_property
    def largest_class(self) -> tuple[str, float]:
        """The most frequent class, and how often always answering it is right."""
        counts = np.bincount(np.concatenate([seed.labels for seed in self.cells[0].seeds]))
        return self.cells[0].classes[int(counts.argmax())], float(counts.max() / counts.sum())

    @cached_property
    def samples(self) -> dict[str, dict[str, Floats]]:
        """Metric to cell name to (S, 1 + R): each seed's value, then those of the resamples.

        The metrics are those that are compared or shown with an interval.
        """
        sampled = {cell.name: [self._sampled(seed) for seed in cell.seeds] for cell in self.cells}
        return {
            metric: {name: np.stack([s[metric] for s in seeds]) for name, seeds in sampled.items()}
            for metric in (*COMPARED, *(f"recall/{name}" for name in self.cells[0].classes))
        }

    def _sampled(self, seed: Seed) -> dict[str, Floats]:
        """Each metric of the tests as they are and in every resample, the same for all seeds."""
        rows = pd.Index(self.patients).get_indexer(pd.Index(seed.tests["group"]))
        as_they_are = np.ones((1, len(self.patients)))
        resamples = metrics.resample_patients(self.patients, self.n_resamples, seed=0)
        tests = (seed.labels, seed.probabilities, self.cells[0].classes)
        parts = [
            metrics.compute_metrics(*tests, weights[:, rows], ranking=False)
            for times in chain([as_they_are], resamples)
            # An image that several splits test has several rows: keep the weights' memory bounded.
            for weights in np.array_split(times, min(len(times), -(-len(rows) // times.shape[1])))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def mean(self, cell: Cell, metric: str) -> Interval:
        """A cell's mean over its seeds, within the bounds of the metric (0 to 1).

        accuracy and recall/k with fewer than ten patients who have an error, or a success, in one
        of the seeds: Clopper-Pearson on patients, as in `metrics.estimate`; with seeds, no narrower
        than what their spread gives.
        """
        mean = contrast(self.samples[metric], {cell.name: 1.0}, len(self.patients))
        limits = [limit for limit in (mean.low, mean.high) if limit is not None]
        if metric == "f1_macro":
            if self.images.groupby("label")["group"].nunique().min() == 1:
                limits = []  # a class of one patient: a bootstrap cannot draw another
        elif not np.isnan(mean.value):
            few, n, of_class = False, 0, metric.partition("/")[2]
            for seed in cell.seeds:
                concerned = (seed.tests["label"] == of_class).to_numpy() | (not of_class)
                patients = seed.tests["group"].to_numpy()[concerned]
                right = (seed.predicted == seed.labels)[concerned]
                few, n = few or metrics.has_few_patients(patients, right), max(n, len({*patients}))
            if few:
                exact = metrics.clopper_pearson(mean.value * n, n)
                limits = [*exact, *(limits if len(cell.seeds) > 1 else [])]
        if not limits:
            return Interval(mean.value)
        return Interval(mean.value, max(0.0, min(limits)), min(1.0, max(limits)))


@dataclass(frozen=True)
class Effect:
    """What changing a factor from its first level to another does, over `pairs` matched cells."""

    name: str
    pairs: int
    of: dict[str, Interval]  # by metric


@dataclass(frozen=True)
class Comparison:
    """Two cells on the same tests: difference of accuracy (first - second) and its one p.

    test: how p was found. A p that cannot be estimated counts as 1 for p_holm, which is corrected
    for all pairs of the sweep's cells. n: images.
    """

    first: str
    second: str
    difference: Interval
    test: str
    is_of_networks: bool
    p_holm: float
    n: int

    @property
    def sentence(self) -> str:
        """The result in words, at the 5% level after Holm's correction."""
        points = f"{100 * abs(self.difference.value):.1f} points"
        both = f"“{self.first}” and “{self.second}”"
        if self.difference.p is None and self.difference.value:
            return f"{both} differ by {points}; how much of it is chance cannot be estimated."
        if self.p_holm >= 0.05:
            return f"{both} cannot be distinguished with {self.n} test images."
        better, worse = self.first, self.second
        if self.difference.value < 0:
            better, worse = worse, better
        result = f"“{better}” is more accurate than “{worse}”, by {points}."
        return f"Of these networks, {result}" if self.is_of_networks else result


def same_tests(cells: Sequence[Cell], n_resamples: int) -> list[SameTests]:
    """The cells that have a whole seed, by what they were tested on, in the order of the cells."""
    sets: dict[object, list[Cell]] = {}
    for cell in cells:
        if cell.seeds:
            tests = frozenset(frozenset(s.tests.itertuples(index=False)) for s in cell.seeds)
            sets.setdefault((tuple(cell.classes), tests), []).append(cell)
    return [SameTests(members, n_resamples) for members in sets.values()]


def effects(tested: SameTests, suffix: str = "") -> list[Effect]:
    """Every level of every factor against the factor's first level, over matched cells.

    suffix: what is added to the names, to tell one set of test images from another.
    """
    found = []
    for factor in dict.fromkeys(key for cell in tested.cells for key in cell.values):
        by_level: dict[str, dict[frozenset[tuple[str, str]], str]] = {}
        for cell in tested.cells:
            others = frozenset((k, v) for k, v in cell.values.items() if k != factor)
            by_level.setdefault(cell.values.get(factor, ""), {})[others] = cell.name
        (first, reference), *further = by_level.items()
        for level, of_level in further:
            matched = [others for others in reference if others in of_level]
            weights = {of_level[others]: 1 / len(matched) for others in matched}
            weights |= {reference[others]: -1 / len(matched) for others in matched}
            if matched:
                n = len(tested.patients)
                of = {metric: contrast(tested.samples[metric], weights, n) for metric in COMPARED}
                found.append(Effect(f"{factor}: {first} → {level}{suffix}", len(matched), of))
    return found


def comparisons(sets: Sequence[SameTests]) -> list[Comparison]:
    """Every pair of cells that were tested on the same images, with Holm's correction for all.

    Of many cells, only the pairs with the best one are returned: the best by validation, or by test
    accuracy where a cell has no validation images. The correction counts every pair, so that it
    does not matter which were chosen.
    """
    pairs = [(tested, *pair) for tested in sets for pair in combinations(tested.cells, 2)]
    compared = [_compare(*pair) for pair in pairs]
    adjusted = holm([1.0 if c.difference.p is None else c.difference.p for c in compared])
    return [
        replace(comparison, p_holm=p)
        for (tested, *pair), comparison, p in zip(pairs, compared, adjusted, strict=True)
        if len(tested.cells) <= ALL_PAIRS_UP_TO or _best(tested.cells) in pair
    ]


def _best(cells: Sequence[Cell]) -> Cell:
    if any(np.isnan(cell.validation) for cell in cells):
        return max(cells, key=lambda cell: float(cell.values_of["accuracy"].mean()))
    return max(cells, key=lambda cell: cell.validation)


def _compare(tested: SameTests, first: Cell, second: Cell) -> Comparison:
    weights, n_patients = {first.name: 1.0, second.name: -1.0}, len(tested.patients)
    difference, test = contrast(tested.samples["accuracy"], weights, n_patients), "t contrast"
    n_seeds = (len(first.seeds), len(second.seeds))
    if n_seeds == (1, 1):
        (one,), (other,) = first.seeds, second.seeds
        won = (one.predicted == one.labels).astype(np.int64) - (other.predicted == other.labels)
        by_patient = pd.Series(won).groupby(one.tests["group"]).sum()
        if np.count_nonzero(by_patient) < metrics.FEWEST_PATIENTS:
            difference = Interval(difference.value)  # a bootstrap cannot draw what it has not seen
        difference = replace(difference, p=sign_flip(by_patient))
        test = "McNemar, exact" if n_patients == len(won) else "sign flip by patient, exact"
    about = (difference, test, 1 in n_seeds, 1.0, len(tested.images))
    return Comparison(first.name, second.name, *about)
