"""Which differences between cells a sweep can show: intervals, paired tests, Holm's correction.

A cell is a recipe; its seeds are networks trained by it, all tested on the same images of the same
patients. A contrast is a weighted sum over cells of a metric's mean over seeds: +1 and -1 for a
comparison, ±1/k for a factor's effect over k matched pairs of cells, 1 for a cell's mean. Its two
sources of chance are the patients who happen to be in the test set and the seeds:

- patients: the same bootstrap resamples of patients for all cells and seeds (paired), so what is
  hard for everyone cancels; SE_p = standard deviation of the contrast over resamples;
- seeds: SE_s² = sum of weight² * s² / S over cells, s² the variance over a cell's S seeds.

With two or more seeds in every cell: SE² = SE_p² + SE_s², a t distribution with Satterthwaite's
degrees of freedom (patients - 1, and S - 1 for each cell). A mean of one cell, in which seeds weigh
more, has Banerjee's interval: each source with its own t, half² = sum of t² * SE². Simulated with
two and three seeds that differ much, Satterthwaite's covered a mean in .88 and .91 of sweeps and
Banerjee's in .96; for differences it kept the 5% level, but not the far tail that Holm's correction
of many pairs needs: five seeds are better than three, and two are too few.
With a single seed: percentiles of the bootstrap; that speaks of these networks, not of recipes.
Where no resample and no seed changes the value, or there is one patient, chance cannot be
estimated: no limits, and p = 1.

Sources: Welch, Biometrika 34 (1947) 28, and Satterthwaite, Biometrics Bulletin 2 (1946) 110;
Banerjee, Sankhya 22 (1960) 351; Pitman, J. R. Stat. Soc. Suppl. 4 (1937) 119, for `sign_flip`;
Field & Welsh, J. R. Stat. Soc. B 69 (2007) 369, for resampling clusters; McNemar, Psychometrika 12
(1947) 153, in its exact form; Holm, Scand. J. Statist. 6 (1979) 65.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
NOTHING = 1e-12  # a spread that is rounding's, not chance's


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images: b only the first has right, c only the second."""

    b: int
    c: int
    p: float


@dataclass(frozen=True)
class Sample:
    """A metric of a cell: for each seed (S,), and for each resample of patients (S, R)."""

    values: Floats
    resampled: Floats


@dataclass(frozen=True)
class Interval:
    """A value with its 95% limits; None: not estimable."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Contrast(Interval):
    """A weighted sum of cells with its 95% interval and two-sided p, and what they account for."""

    p: float
    accounts_for: str


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Exact McNemar test of which images (n,) two networks have right (booleans).

    Under the null hypothesis each of the b + c images that only one has right is as likely to be
    the first's: p = min(1, 2 * P(Binomial(b + c, 1/2) <= min(b, c))), 1 where b + c = 0. Images of
    one patient count as independent here.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != other.shape:
        raise ValueError(f"Both must be of the same images: {one.shape} and {other.shape}.")
    b, c = int((one & ~other).sum()), int((~one & other).sum())
    p = float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    return McNemar(b, c, p)


def sign_flip(differences: ArrayLike) -> float:
    """Exact test of two networks by patient; differences (n,), whole numbers, one a patient.

    A difference is the number of the patient's images that only the first network has right, less
    those that only the second has. Under the null hypothesis each sign is as likely as the other:
    p = P(|sum of ±d| >= |sum of d|). McNemar's exact test, where every patient has one image.
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
    """Holm's step-down adjustment: at most alpha of all families have a false p < alpha.

    The i-th smallest of m is multiplied by m - i + 1; never smaller than one before it, nor over 1.
    """
    order = np.argsort(p_values, kind="stable")
    m, adjusted, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def contrast(
    samples: Mapping[str, Sample], weights: Mapping[str, float], n_patients: int
) -> Contrast:
    """The weighted sum over cells, by name; cells without a weight are left out.

    Raises ValueError if the cells with a weight differ in resamples, or one is not in `samples`.
    """
    used = {name: w for name, w in weights.items() if w}
    if missing := used.keys() - samples.keys():
        raise ValueError(f"No sample of {', '.join(sorted(missing))}.")
    value = float(sum(w * samples[name].values.mean() for name, w in used.items()))
    drawn = sum(w * samples[name].resampled.mean(axis=0) for name, w in used.items())
    drawn = np.asarray(drawn)[~np.isnan(drawn)]
    if np.isnan(value):  # the recall of a class without images
        return Contrast(value, None, None, 1.0, "undefined")
    seeds = {name: len(samples[name].values) for name in used}
    if n_patients < 2:
        return Contrast(value, None, None, 1.0, "one patient")
    if min(seeds.values()) < 2:
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        if high - low < NOTHING:
            return Contrast(value, None, None, 1.0, "patients")
        tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
        p = min(1.0, 2 * (int(tail) + 1) / (len(drawn) + 1))
        return Contrast(value, low, high, p, "patients")
    of_seeds = [
        (w**2 * samples[k].values.var(ddof=1) / seeds[k], seeds[k] - 1) for k, w in used.items()
    ]
    parts = [(float(drawn.var(ddof=1)), n_patients - 1), *of_seeds]
    variance = sum(part for part, _ in parts)
    if variance < NOTHING**2:
        return Contrast(value, None, None, 1.0, "patients and seeds")
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    error = float(np.sqrt(variance))
    # With two seeds this may pass any bound.
    half = float(stats.t.ppf(0.975, df)) * error
    if len(used) == 1:
        half = math.sqrt(sum(float(stats.t.ppf(0.975, f)) ** 2 * part for part, f in parts))
    p = 2 * float(stats.t.sf(abs(value) / error, df))
    return Contrast(value, value - half, value + half, p, "patients and seeds")
