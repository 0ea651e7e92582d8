"""Tests of two networks by patient, of a mean's interval, and of what is corrected for."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t
from written_sweeps import cell

from cxr_lightning.contrasts import contrast, holm, sign_flip
from cxr_lightning.sweeps.comparisons import SameTests, comparisons, same_tests


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1] * 6, 2 / 64),  # all six for the first: both tails of 2^6
        ([2, 1], 0.5),  # sums 3, 1, -1, -3: two of four are as far as 3
        ([2, -1], 1.0),  # sum 1: all four are as far
        ([3, 0, 0], 1.0),  # one patient who differs shows nothing
        ([4, 4, 4, 4, -1], 4 / 32),  # sum 15: as far are ±(16 - 1) and ±(16 + 1), of 2^5
        ([], 1.0),
        ([0, 0], 1.0),
    ],
)
def test_p_by_hand(differences: list[int], p: float) -> None:
    assert sign_flip(differences) == pytest.approx(p)


def test_p_is_the_share_of_all_signs() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        d = rng.integers(-3, 4, size=7)
        sums = [abs(sum(np.multiply(signs, d))) for signs in product((1, -1), repeat=7)]
        assert sign_flip(d) == pytest.approx(np.mean(np.array(sums) >= abs(d.sum())))


def test_it_is_mcnemars_exact_test_where_every_patient_has_one_image() -> None:
    # McNemar's exact test is the binomial test of the images that only one of the two has right.
    rng = np.random.default_rng(2)
    for n in (10, 30, 300):
        first, second = rng.random((2, n)) < [[0.8], [0.7]]
        b, c = int((first > second).sum()), int((first < second).sum())
        expected = binomtest(b, b + c, 0.5).pvalue
        assert sign_flip(first.astype(int) - second) == pytest.approx(expected)


def test_it_errs_in_at_most_five_percent_for_every_number_of_patients() -> None:
    for n in range(1, 40):
        p = np.array([sign_flip([1] * b + [-1] * (n - b)) for b in range(n + 1)])
        assert binom.pmf(np.flatnonzero(p < 0.05), n, 0.5).sum() <= 0.05, n


def of(right: dict[str, list[bool]], patients: list[str]) -> SameTests:
    """Cells of one seed; image i, COVID19, is right or not, and called NORMAL if not."""
    cells = [
        cell(
            {"model": name},
            np.eye(4)[[[0 if r else 1 for r in images]]],
            [0] * len(images),
            patients=patients,
        )
        for name, images in right.items()
    ]
    (tested,) = same_tests(cells, 200)
    return tested


def test_four_images_of_a_patient_are_one_witness() -> None:
    # Six patients of four images; those of two the first network alone has right.
    a, b = [True] * 24, [False] * 8 + [True] * 16
    patients = [f"p{i // 4}" for i in range(24)]
    (pair,) = comparisons([of({"a": a, "b": b}, patients)])
    # McNemar's test, which takes images as independent, would give 2 / 2^8.
    assert pair.difference.p == pytest.approx(2 / 2**2)  # two patients
    assert pair.test == "sign flip by patient, exact"
    assert pair.sentence == "“a” and “b” cannot be distinguished with 24 test images."
    assert (pair.difference.low, pair.difference.high) == (None, None)  # too few to resample


def test_the_best_of_many_is_corrected_for_all_pairs() -> None:
    rng = np.random.default_rng(3)
    right = {f"{i}": (rng.random(60) < 0.6 + 0.03 * i).tolist() for i in range(10)}
    found = comparisons([of(right, [f"p{i}" for i in range(60)])])
    assert len(found) == 9
    (best,) = set.intersection(*({c.first, c.second} for c in found))
    assert best == max(right, key=lambda name: sum(right[name]))
    one = {name: np.array(images).astype(int) for name, images in right.items()}
    pairs = [(a, b) for i, a in enumerate(right) for b in list(right)[i + 1 :]]
    corrected = dict(zip(pairs, holm([sign_flip(one[a] - one[b]) for a, b in pairs]), strict=True))
    assert len(pairs) == 45
    assert [c.p_holm for c in found] == [corrected[c.first, c.second] for c in found]


def test_a_mean_has_banerjees_interval() -> None:
    # Seeds .8 and .6: s² = .02, / 2 = .01, 1 degree. Patients: .65 or .75, variance .005 (n - 1 of
    # two), 10 degrees.
    sample = np.array([[0.8, 0.75, 0.85], [0.6, 0.55, 0.65]])
    mean = contrast({"a": sample}, {"a": 1.0}, n_patients=11)
    half = sqrt(t.ppf(0.975, 10) ** 2 * 0.005 + t.ppf(0.975, 1) ** 2 * 0.01)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half))


def test_of_one_patient_nothing_can_be_estimated() -> None:
    sample = np.array([[0.8, 0.8, 0.8], [0.6, 0.6, 0.6]])
    other = np.array([[0.5, 0.5, 0.5], [0.6, 0.6, 0.6]])
    found = contrast({"a": sample, "b": other}, {"a": 1.0, "b": -1.0}, n_patients=1)
    assert (found.value, found.low, found.high, found.p) == (pytest.approx(0.15), None, None, None)
