"""The arithmetic of triage, by hand and against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from cxr_lightning.decisions.triage import (
    Accuracy,
    Share,
    accuracy_at,
    at_prevalence,
    by_patient,
    choose_threshold,
    needed_for,
    net_benefit,
    verdict,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (36, 39), (700, 1000)])
def test_wilson_is_scipy_s(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high))


def test_the_threshold_finds_enough_cases_and_no_more() -> None:
    is_case = np.array([True] * 10 + [False] * 5)
    score = np.array(
        [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1, 0.2, 0.05, 0.02, 0.35, 0.9]
    )
    threshold = choose_threshold(is_case, score, 0.9)  # nine of ten: down to .3, next below is .2
    assert threshold == pytest.approx(0.25)
    found = accuracy_at(is_case, score, threshold)
    assert (found.sensitivity.hits, found.specificity.hits) == (9, 3)
    assert choose_threshold(is_case, score, 1.0) == pytest.approx(0.075)
    with pytest.raises(ValueError, match="no cases"):
        choose_threshold(np.zeros(3, bool), score[:3], 0.9)


def test_equal_scores_are_called_together() -> None:
    is_case, score = np.array([True, True, False]), np.array([0.5, 0.5, 0.5])
    threshold = choose_threshold(is_case, score, 0.5)
    found = accuracy_at(is_case, score, threshold)
    assert (found.sensitivity.hits, found.specificity.hits) == (2, 0)


def test_a_patient_is_called_for_the_worst_film() -> None:
    films = pd.DataFrame(
        {"group": ["a", "a", "b", "c"], "is_case": [True, False, False, False]}
        | {"score": [0.2, 0.8, 0.1, 0.6]}
    )
    found = by_patient(films).set_index("group")
    assert found["score"].to_dict() == {"a": 0.8, "b": 0.1, "c": 0.6}
    assert found["is_case"].to_dict() == {"a": True, "b": False, "c": False}


@pytest.mark.parametrize(("missed", "cases"), [(0, 35), (1, 53), (2, 69)])
def test_how_many_cases_a_lower_limit_of_ninety_percent_takes(missed: int, cases: int) -> None:
    assert needed_for(0.9, missed) == cases
    assert wilson(cases - 1 - missed, cases - 1)[0] < 0.9 <= wilson(cases - missed, cases)[0]
    assert needed_for(0.9, missed, n=200) == 200


@pytest.mark.parametrize(
    ("cases", "others", "expected"),
    [
        ((100, 100), (90, 100), "PASS"),
        ((80, 100), (90, 100), "FAIL"),  # at most 86.7%
        ((100, 100), (50, 100), "FAIL"),
        ((33, 34), (90, 100), "INDETERMINATE"),
        ((0, 0), (90, 100), "INDETERMINATE"),
    ],
)
def test_the_verdict_is_by_the_limits(
    cases: tuple[int, int], others: tuple[int, int], expected: str
) -> None:
    assert verdict(Accuracy(Share(*cases), Share(*others)), 0.9, 0.7) == expected


def test_screening_by_hand() -> None:
    # 100,000 people, 1% ill: 1,000 cases and 99,000 others; 90% found, 80% spared.
    found = at_prevalence(Accuracy(Share(90, 100), Share(80, 100)), 0.01, prices=(1, 10))
    values = {name: value for name, (value, _, _) in found.items()}
    assert values["found"] == pytest.approx(900) and values["missed"] == pytest.approx(100)
    assert values["examinations"] == pytest.approx(900 + 19_800)
    assert values["avoided"] == pytest.approx(79_300)
    assert values["ppv"] == pytest.approx(900 / 20_700)
    assert values["npv"] == pytest.approx(79_200 / 79_300)
    assert values["cost_per_case"] == pytest.approx((100_000 + 207_000) / 900)
    low, high = wilson(90, 100)
    assert found["missed"][1:] == pytest.approx((1000 * (1 - high), 1000 * (1 - low)))


def test_net_benefit_by_hand() -> None:
    is_case, p = np.array([True, True, False, False]), np.array([0.9, 0.3, 0.6, 0.1])
    curve = net_benefit(is_case, p, np.array([0.5]), prevalence=0.5)
    # Half of the cases and half of the others are called; odds of .5 are 1.
    assert curve["model"][0] == pytest.approx(0.25 - 0.25)
    assert curve["all"][0] == pytest.approx(0.5 - 0.5)
    curve = net_benefit(is_case, p, np.array([0.2]), prevalence=0.1)
    assert curve["model"][0] == pytest.approx(0.1 - 0.9 * 0.5 * 0.25)
    assert curve["all"][0] == pytest.approx(0.1 - 0.9 * 0.25)
