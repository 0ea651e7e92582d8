"""What a sweep shows: each cell's mean, each factor's effect, and every pair of cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cxr_lightning.metrics import FEWEST_PATIENTS, clopper_pearson, has_few_patients
from cxr_lightning.sweeps.aligned import Aligned, Cell, cell_name
from cxr_lightning.sweeps.contrasts import (
    Contrast,
    Interval,
    McNemar,
    contrast,
    holm,
    mcnemar,
    sign_flip,
)

ALL_PAIRS_UP_TO = 8  # cells: 28 pairs; of more, those with the best cell are shown


@dataclass(frozen=True)
class Effect:
    """What changing a factor from its first level to another does, the rest being equal."""

    factor: str
    reference: str
    level: str
    pairs: int
    accuracy: Contrast
    f1_macro: Contrast


@dataclass(frozen=True)
class Comparison:
    """Two cells on the same images: difference of accuracy (first - second) and its tests.

    mcnemar: one test a seed that both have, images as if independent. p: where both have one and
    the same seed, `sign_flip` by patient, else the contrast's; p_holm: corrected for all pairs of
    the sweep's cells.
    """

    first: str
    second: str
    difference: Contrast
    mcnemar: dict[str, McNemar]
    p: float
    p_holm: float
    n: int

    @property
    def words(self) -> str:
        """The result as a sentence, at the 5% level after Holm's correction."""
        if self.p_holm >= 0.05:
            return f"“{self.first}” and “{self.second}”: not distinguishable at n = {self.n}."
        better, worse = (
            (self.first, self.second) if self.difference.value > 0 else (self.second, self.first)
        )
        points = 100 * abs(self.difference.value)
        networks = "" if "seeds" in self.difference.accounts_for else "of these networks, "
        return f"{networks}“{better}” is more accurate than “{worse}”, by {points:.1f} points."


def cell_mean(aligned: Aligned, cell: Cell, metric: str) -> Interval:
    """A cell's mean over its seeds, within the bounds of the metric (0 to 1).

    accuracy and recall/k with fewer than ten patients who have an error, or a success, in one of
    the seeds: Clopper-Pearson on patients, as in `metrics.estimate`; with seeds, no narrower than
    what their spread gives.
    """
    mean = contrast(aligned.samples[metric], {cell.name: 1.0}, aligned.n_patients)
    limits = [limit for limit in (mean.low, mean.high) if limit is not None]
    if metric != "f1_macro" and not np.isnan(mean.value):
        concerned = aligned.concerned(metric)
        patients, right = aligned.patient_numbers[concerned], aligned.correct(cell)[:, concerned]
        if any(has_few_patients(patients, of_seed) for of_seed in right):
            n = len(np.unique(patients))
            exact = clopper_pearson(mean.value * n, n)
            limits = [*exact, *(limits if len(cell.seeds) > 1 else [])]
    elif metric == "f1_macro" and aligned.has_class_of_one_patient:
        limits = []
    if not limits:
        return Interval(mean.value, None, None)
    return Interval(mean.value, max(0.0, min(limits)), min(1.0, max(limits)))


def effects(aligned: Aligned) -> list[Effect]:
    """Every level of every factor against the factor's first level, over matched cells."""
    found = []
    for factor in dict.fromkeys(key for cell in aligned.cells for key in cell.values):
        levels = list(dict.fromkeys(cell.values.get(factor, "") for cell in aligned.cells))
        for level in levels[1:]:
            matched = _matched(aligned.cells, factor, levels[0], level)
            if not matched:
                continue
            weights: dict[str, float] = {}
            for reference, other in matched:
                weights[other.name] = 1 / len(matched)
                weights[reference.name] = -1 / len(matched)
            accuracy, f1_macro = (
                contrast(aligned.samples[metric], weights, aligned.n_patients)
                for metric in ("accuracy", "f1_macro")
            )
            found.append(Effect(factor, levels[0], level, len(matched), accuracy, f1_macro))
    return found


def comparisons(aligned: Aligned) -> list[Comparison]:
    """Every pair of cells, Holm-corrected; of many cells, those with the most accurate are kept.

    All pairs count in the correction: which cell is the best was seen on the same images.
    """
    cells, n = aligned.cells, len(aligned.labels)
    pairs = list(combinations(cells, 2))
    compared = [_difference(aligned, first, second) for first, second in pairs]
    adjusted = holm([p for _, p in compared])
    best = max(cells, key=lambda cell: aligned.correct(cell).mean())
    found = []
    for (first, second), (difference, p), p_holm in zip(pairs, compared, adjusted, strict=True):
        if len(cells) <= ALL_PAIRS_UP_TO or best in (first, second):
            tests = _tests(aligned, first, second)
            names = (first.name, second.name)
            found.append(Comparison(*names, difference, tests, p, p_holm, n))
    return found


def _difference(aligned: Aligned, first: Cell, second: Cell) -> tuple[Contrast, float]:
    """First less second with its interval, and the p of the two."""
    weights = {first.name: 1.0, second.name: -1.0}
    difference = contrast(aligned.samples["accuracy"], weights, aligned.n_patients)
    if not len(first.seeds) == len(second.seeds) == 1 or first.seeds != second.seeds:
        return difference, difference.p
    images = aligned.correct(first)[0].astype(int) - aligned.correct(second)[0]
    by_patient = np.zeros(aligned.n_patients, dtype=np.int64)
    np.add.at(by_patient, aligned.patient_numbers, images)
    if (by_patient != 0).sum() < FEWEST_PATIENTS:  # a bootstrap cannot draw what it has not seen
        difference = replace(difference, low=None, high=None)
    return difference, sign_flip(by_patient)


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


def _tests(aligned: Aligned, first: Cell, second: Cell) -> dict[str, McNemar]:
    right = [dict(zip(cell.seeds, aligned.correct(cell), strict=True)) for cell in (first, second)]
    return {seed: mcnemar(right[0][seed], right[1][seed]) for seed in right[0] if seed in right[1]}
