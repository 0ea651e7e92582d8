"""Differences of accuracy: of two networks on the same films, and of one on two sets."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import binomtest

from cxr_lightning.contrasts import above_or_below, accuracy_difference, independent_difference
from cxr_lightning.metrics import Estimate


def probabilities(called: list[int]) -> np.ndarray:
    return np.eye(2)[called] * 0.6 + 0.2


def test_two_networks_on_the_same_films() -> None:
    labels = np.zeros(40, dtype=np.int64)
    first = probabilities([0] * 36 + [1] * 4)  # wrong in the last four
    second = probabilities([1] * 16 + [0] * 24)  # wrong in the first sixteen
    films = [f"p{i}" for i in range(40)]
    found = accuracy_difference(labels, first, second, films, 4000)
    assert found.value == pytest.approx(12 / 40)
    assert found.p == pytest.approx(binomtest(4, 20).pvalue)  # McNemar: 16 against 4
    # The difference of a film is -1, 0 or 1; its mean has this standard error.
    error = sqrt((20 / 40 - 0.3**2) / 40)
    assert found.low == pytest.approx(0.3 - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(0.3 + 1.96 * error, abs=0.03)
    back = accuracy_difference(labels, second, first, films, 4000)
    assert (back.value, back.p) == (-found.value, found.p)


def test_a_patient_s_films_are_drawn_together() -> None:
    labels = np.zeros(80, dtype=np.int64)
    first, second = probabilities([0] * 80), probabilities([0, 0, 0, 0, 1, 1, 1, 1] * 10)
    alone = accuracy_difference(labels, first, second, [f"p{i}" for i in range(80)], 2000)
    four = accuracy_difference(labels, first, second, [f"p{i // 4}" for i in range(80)], 2000)
    widths = [f.high - f.low for f in (alone, four) if f.low is not None and f.high is not None]
    assert widths[1] / widths[0] == pytest.approx(2, abs=0.2)  # sqrt(4)


def test_few_patients_that_differ_give_no_limits() -> None:
    labels = np.zeros(40, dtype=np.int64)
    films = [f"p{i}" for i in range(40)]
    both = (probabilities([0] * 40), probabilities([1] * 9 + [0] * 31))
    found = accuracy_difference(labels, *both, films, 500)
    assert found.low is None and found.value == pytest.approx(9 / 40)
    assert found.p == pytest.approx(2 / 2**9)


def test_newcombe_s_example_with_wilson_s_limits() -> None:
    # Statist. Med. 17 (1998) 873, table II, contrast (a), method 10: 56/70 - 48/80.
    def wilson(hits: int, n: int) -> Estimate:
        interval = binomtest(hits, n).proportion_ci(method="wilson")
        return Estimate(hits / n, interval.low, interval.high, n, "")

    found = independent_difference(wilson(56, 70), wilson(48, 80))
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


def test_without_limits_of_one_there_are_none() -> None:
    known = Estimate(0.9, 0.8, 0.95, 100, "")
    found = independent_difference(known, Estimate(1.0, None, None, 50, "not estimable"))
    assert (found.value, found.low) == (pytest.approx(-0.1), None)
    assert above_or_below(found) == "10.0 points below it (95% interval not estimable)"
