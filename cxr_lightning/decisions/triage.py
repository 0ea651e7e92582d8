"""Who needs the second examination: one threshold, found on some films and frozen for others.

After the procedure of WHO and TDR for computer-aided detection of tuberculosis ("Determining the
local calibration of computer-assisted detection (CAD) thresholds and other parameters", Geneva
2021): films of the place with known results give the threshold; what it is worth is measured on
other films. Wilson's interval: J. Am. Stat. Assoc. 22 (1927) 209. Net benefit: Vickers & Elkin,
Medical Decision Making 26 (2006) 565.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr_lightning.metrics import Floats

Z = float(norm.ppf(0.975))
MOST_CASES = 100_000  # further cases that are looked at for a verdict


@dataclass(frozen=True)
class Share:
    """`hits` of `n`, with Wilson's 95% limits; all None where n is 0."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """hits / n."""
        return self.hits / self.n if self.n else None

    @property
    def low(self) -> float | None:
        """The lower limit."""
        return wilson(self.hits, self.n)[0] if self.n else None

    @property
    def high(self) -> float | None:
        """The upper limit."""
        return wilson(self.hits, self.n)[1] if self.n else None

    @property
    def text(self) -> str:
        """`92.3% (36/39; 79.7–97.3)`."""
        if self.value is None or self.low is None or self.high is None:
            return "no films"
        limits = f"{100 * self.low:.1f}–{100 * self.high:.1f}"
        return f"{100 * self.value:.1f}% ({self.hits}/{self.n}; {limits})"


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 95%."""
    p, z2 = hits / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def choose_threshold(is_case: np.ndarray, score: Floats, sensitivity: float) -> float:
    """The highest threshold at which at least this share of the cases is found (score >= it).

    is_case (n,) bool, score (n,). It lies midway to the next lower score, so that films between
    the two are not decided by the last digit. Raises ValueError where there are no cases.
    """
    cases = np.sort(score[is_case])[::-1]
    if not len(cases):
        raise ValueError("there are no cases")
    wanted = math.ceil(sensitivity * len(cases) - 1e-9)
    lowest = cases[max(wanted, 1) - 1]
    below = score[score < lowest]
    return float((lowest + below.max()) / 2) if len(below) else float(lowest)


@dataclass(frozen=True)
class Accuracy:
    """What a frozen threshold does on some films, or patients."""

    sensitivity: Share
    specificity: Share


def accuracy_at(is_case: np.ndarray, score: Floats, threshold: float) -> Accuracy:
    """Of films: those at or above the threshold are called."""
    called = score >= threshold
    found, spared = int((called & is_case).sum()), int((~called & ~is_case).sum())
    return Accuracy(Share(found, int(is_case.sum())), Share(spared, int((~is_case).sum())))


def by_patient(films: pd.DataFrame) -> pd.DataFrame:
    """One row per patient of `group, is_case, score`: a case if one film is, the highest score."""
    return films.groupby("group", as_index=False).agg(
        is_case=("is_case", "any"), score=("score", "max")
    )


def verdict(accuracy: Accuracy, sensitivity: float, specificity: float) -> str:
    """PASS if both lower limits reach the target, FAIL if an upper limit does not, else neither."""
    lows = (accuracy.sensitivity.low, accuracy.specificity.low)
    highs = (accuracy.sensitivity.high, accuracy.specificity.high)
    targets = (sensitivity, specificity)
    if any(high is not None and high < aim for high, aim in zip(highs, targets, strict=True)):
        return "FAIL"
    if all(low is not None and low >= aim for low, aim in zip(lows, targets, strict=True)):
        return "PASS"
    return "INDETERMINATE"


def needed_for(target: float, missed: int, n: int = 0) -> int | None:
    """The least number of films, n or more, whose lower limit reaches `target` with so many missed.

    None where more than 100,000 would be needed.
    """
    for total in range(max(n, missed, 1), MOST_CASES):
        if wilson(total - missed, total)[0] >= target:
            return total
    return None


def at_prevalence(
    accuracy: Accuracy, prevalence: float, screened: int = 100_000, prices: Sequence[float] = ()
) -> dict[str, tuple[float, float, float]]:
    """What screening so many people means, each with the limits that those of the shares give.

    `ppv`, `npv`, `found`, `missed`, `examinations` (those called) and `avoided` (those not).
    prices: of one film with its reading, and of one second examination; then `cost_per_case` too.
    """
    sensitivity, specificity = accuracy.sensitivity, accuracy.specificity
    ways = [
        _screening(sens, spec, prevalence, screened, prices)
        for sens in (sensitivity.value, sensitivity.low, sensitivity.high)
        for spec in (specificity.value, specificity.low, specificity.high)
        if sens is not None and spec is not None
    ]
    if not ways:
        return {}
    return {
        name: (ways[0][name], min(w[name] for w in ways), max(w[name] for w in ways))
        for name in ways[0]
    }


def _screening(
    sensitivity: float, specificity: float, prevalence: float, n: int, prices: Sequence[float]
) -> dict[str, float]:
    cases, others = n * prevalence, n * (1 - prevalence)
    found, false = cases * sensitivity, others * (1 - specificity)
    spared, missed = others * specificity, cases * (1 - sensitivity)
    values = {
        "ppv": found / (found + false) if found + false else math.nan,
        "npv": spared / (spared + missed) if spared + missed else math.nan,
        "found": found,
        "missed": missed,
        "examinations": found + false,
        "avoided": n - found - false,
    }
    if prices:
        spent = n * prices[0] + (found + false) * prices[1]
        values["cost_per_case"] = spent / found if found else math.inf
    return values


def net_benefit(
    is_case: np.ndarray, probability: Floats, thresholds: Floats, prevalence: float
) -> dict[str, Floats]:
    """The decision curve at a prevalence: `model`, `all` and `none`, for each threshold.

    A threshold t says how many examinations of healthy people one found case is worth: (1 - t) / t.
    """
    sensitivity = np.array([(probability[is_case] >= t).mean() for t in thresholds])
    false = np.array([(probability[~is_case] >= t).mean() for t in thresholds])
    odds = thresholds / (1 - thresholds)
    return {
        "model": prevalence * sensitivity - (1 - prevalence) * false * odds,
        "all": prevalence - (1 - prevalence) * odds,
        "none": np.zeros(len(thresholds)),
    }


def targets_reached(
    accuracy: Accuracy, targets: Mapping[str, tuple[float, float]]
) -> dict[str, str]:
    """The verdict for each target, by its name."""
    return {name: verdict(accuracy, *aim) for name, aim in targets.items()}
