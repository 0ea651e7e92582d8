"""Which differences between cells a sweep can show: intervals, paired tests, Holm's correction.

A cell is a recipe; its seeds are networks trained by it, all tested on the same images of the same
patients. A contrast is a weighted sum over cells of a metric's mean over seeds: +1 and -1 for a
comparison, ±1/k for a factor's effect over k matched pairs of cells, 1 for a cell's mean. It has
two sources of chance, the patients who happen to be in the test set and the seeds:

- patients: all cells and seeds share the bootstrap resamples of patients (paired), so what is hard
  for every network cancels; SE_p = standard deviation of the contrast over resamples;
- seeds: SE_s² = sum of weight² * s² / S over cells, s² the variance over a cell's S seeds. A cell
  with a single seed adds nothing: the result then speaks of its network, not of its recipe.

Where a cell has several seeds: SE² = SE_p² + SE_s², and a t distribution with Satterthwaite's
degrees of freedom (patients - 1, and S - 1 for each cell). A mean of one cell, in which seeds weigh
more, has Banerjee's interval: each source with its own t, half² = sum of t² * SE². Simulated with
two and three seeds that differ much, Satterthwaite's covered a mean in .88 and .91 of sweeps and
Banerjee's in .96; for differences Satterthwaite's kept the 5% level, but not the far tail that
Holm's correction of many pairs needs: five seeds are better than three.

Where every cell has a single seed: percentiles of the bootstrap, and the p-value of `sign_flip`.
Simulated with 40 to 100 patients and accuracies near 0.9, a t interval with SE_p covered as well
for equal networks (.944-.977, percentiles .939-.977), but less for unequal ones (.928-.948,
percentiles .939-.956) and for means of 100 patients (.881-.945, percentiles .939-.961).

Where nothing changes the value, or there is one patient, there are no limits and no p.

Sources: Welch, Biometrika 34 (1947) 28; Satterthwaite, Biometrics Bulletin 2 (1946) 110; Banerjee,
Sankhya 22 (1960) 351; Pitman, J. R. Stat. Soc. Suppl. 4 (1937) 119, for `sign_flip`; McNemar,
Psychometrika 12 (1947) 153; Field & Welsh, J. R. Stat. Soc. B 69 (2007) 369, for resampling
clusters; Holm, Scand. J. Statist. 6 (1979) 65; Newcombe, Statist. Med. 17 (1998) 873, and Zou &
Donner, Statist. Med. 27 (2008) 1693, for `independent_difference`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from cxr_lightning.metrics import (
    FEWEST_PATIENTS,
    Estimate,
    Floats,
    Ints,
    resample_patients,
)

NOTHING = 1e-12  # a spread this small comes from rounding, not from chance


@dataclass(frozen=True)
class Interval:
    """A value, its 95% limits and its two-sided p; None: not estimable."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def limits(self) -> str:
        """The limits in percent or percentage points."""
        if self.low is None or self.high is None:
            return "not estimable"
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"


def above_or_below(difference: Interval) -> str:
    """A difference in words: `4.1 points above it (95% interval -0.5 to 8.6)`."""
    points = 100 * difference.value
    side = "above" if points >= 0 else "below"
    return f"{abs(points):.1f} points {side} it (95% interval {difference.limits})"


def sign_flip(differences: ArrayLike) -> float:
    """Exact test of two networks by patient; differences (n,), whole numbers, one per patient.

    A difference is the number of the patient's images that only the first network has right, less
    those that only the second has. Under the null hypothesis each sign is as likely as the other:
    p = P(|sum of ±d| >= |sum of d|). Where every patient has one image, this is McNemar's exact
    test.
    """
    values = np.asarray(differences, dtype=np.int64)
    total = int(np.abs(values).sum())
    chance = np.zeros(2 * total + 1)  # of the sums -total to total
    chance[total] = 1.0
    for size in np.abs(values[values != 0]).tolist():
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    extreme = np.abs(np.arange(-total, total + 1)) >= abs(int(values.sum()))
    return min(1.0, float(chance[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: at most a share alpha of families has a false p < alpha.

    The i-th smallest of m is multiplied by m - i + 1; never smaller than one before it, nor over 1.
    """
    p, order = np.asarray(p_values, dtype=float), np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return list(adjusted.tolist())


def accuracy_difference(
    labels: Ints, first: Floats, second: Floats, groups: list[str], n_resamples: int
) -> Interval:
    """Accuracy of the first less that of the second on the same films, by patient, with p.

    first, second: probabilities (n, C). The interval is a bootstrap of whole patients, p the exact
    test of `sign_flip`; no limits where fewer than ten patients differ.
    """
    right = {
        name: (said.argmax(axis=1) == labels).astype(np.float64)
        for name, said in (("first", first), ("second", second))
    }
    samples = {name: [[of.mean()]] for name, of in right.items()}
    for weights in resample_patients(groups, n_resamples, seed=0):
        for name, of in right.items():
            samples[name].append(list(weights @ of / weights.sum(axis=1)))
    drawn = {name: np.concatenate(values)[None] for name, values in samples.items()}
    by_patient = pd.Series(right["first"] - right["second"]).groupby(np.asarray(groups)).sum()
    found = contrast(drawn, {"first": 1.0, "second": -1.0}, by_patient.size)
    if np.count_nonzero(by_patient) < FEWEST_PATIENTS:
        found = Interval(found.value)
    return Interval(found.value, found.low, found.high, sign_flip(by_patient.astype(np.int64)))


def independent_difference(first: Estimate, second: Estimate) -> Interval:
    """The first less the second, of different patients; limits from those of the two estimates.

    The squares of the distances from each value to its own limits add up (MOVER): with Wilson's
    limits, this is Newcombe's method 10. No limits where one of the two has none.
    """
    assert first.value is not None and second.value is not None
    value = first.value - second.value
    limits = (first.low, first.high, second.low, second.high)
    if None in limits:
        return Interval(value)
    low1, high1, low2, high2 = (float(limit) for limit in limits if limit is not None)
    below = math.hypot(first.value - low1, high2 - second.value)
    above = math.hypot(high1 - first.value, second.value - low2)
    return Interval(value, value - below, value + above)


def contrast(
    samples: Mapping[str, Floats], weights: Mapping[str, float], n_patients: int
) -> Interval:
    """The weighted sum over the cells with a weight, by name.

    samples: (S, 1 + R) per cell: a metric of each seed, as it is and in each resample of patients.
    """
    total = np.asarray(sum(w * samples[name].mean(axis=0) for name, w in weights.items()))
    value, drawn = float(total[0]), total[1:][~np.isnan(total[1:])]
    if np.isnan(value) or n_patients < 2 or len(drawn) < 2:  # nan: recall of an absent class
        return Interval(value)
    parts = [(float(drawn.var(ddof=1)), n_patients - 1)]
    for name, w in weights.items():
        if (n := len(seeds := samples[name][:, 0])) > 1:
            parts.append((float(w**2 * seeds.var(ddof=1)) / n, n - 1))
    if len(parts) == 1:
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        return Interval(value) if high - low < NOTHING else Interval(value, low, high)
    variance = sum(part for part, _ in parts)
    if variance < NOTHING**2:
        return Interval(value)
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    error = math.sqrt(variance)
    half = float(stats.t.ppf(0.975, df)) * error
    if len(weights) == 1:
        half = math.sqrt(sum(float(stats.t.ppf(0.975, f)) ** 2 * part for part, f in parts))
    return Interval(
        value, value - half, value + half, 2 * float(stats.t.sf(abs(value) / error, df))
    )
