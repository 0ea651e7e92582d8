"""Means, effects and pairs of cells, on twenty images whose mistakes are given."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom, t
from written_sweeps import cell

from cxr_lightning.contrasts import Interval, contrast, holm
from cxr_lightning.metrics import clopper_pearson
from cxr_lightning.sweeps.comparisons import (
    Comparison,
    SameTests,
    comparisons,
    effects,
    same_tests,
)


def sweep(
    mistakes: dict[str, Sequence[Sequence[int]]],
    n: int = 20,
    patients: Sequence[str] | None = None,
    n_resamples: int = 200,
) -> SameTests:
    """`{"model=a augment=none": [(0, 1)]}`: a cell with one seed that has images 0 and 1 wrong.

    The first half of the n images is of class x, the other of y; each its own patient.
    """
    labels = np.arange(n) * 2 // n
    cells = []
    for words, runs in mistakes.items():
        wrong = np.array([np.isin(np.arange(n), run) for run in runs])
        values = dict(word.split("=") for word in words.split())
        probabilities = np.eye(2)[np.where(wrong, 1 - labels, labels)]
        cells.append(cell(values, probabilities, labels.tolist(), ["x", "y"], patients))
    (tested,) = same_tests(cells, n_resamples)
    return tested


def pairs_of(tested: SameTests) -> list[Comparison]:
    return comparisons([tested])


def mean_of(tested: SameTests, name: str, metric: str) -> Interval:
    return next(tested.mean(cell, metric) for cell in tested.cells if cell.name == name)


def first(n: int) -> list[int]:
    return list(range(n))


# --- means ---------------------------------------------------------------------------------------


def test_a_mean_over_seeds_has_the_interval_of_patients_and_seeds() -> None:
    tested = sweep({"model=a": [range(20), range(10, 35), range(90, 105)]}, n=200)
    got = mean_of(tested, "a", "accuracy")
    assert got.value == pytest.approx((180 + 175 + 185) / 600)
    expected = contrast(tested.samples["accuracy"], {"a": 1.0}, 200)
    assert (got.low, got.high) == (expected.low, expected.high)
    assert got.low < got.value < got.high < 1


def test_where_few_patients_err_a_mean_is_no_surer_than_the_exact_interval() -> None:
    runs = [[*range(15), 150], range(14), [*range(1, 17), 151]]
    tested = sweep({"model=a": runs, "model=b": [[0], range(40), range(20)]}, n=200)
    # Of class y, a has 1, 0 and 1 of 100 wrong: 298 of 300, as if of 100 patients.
    few = mean_of(tested, "a", "recall/y")
    assert few.value == pytest.approx(298 / 300)
    assert (few.low, few.high) == (clopper_pearson(298 / 3, 100)[0], 1.0)
    # Of class x 15, 14 and 16: enough.
    many, spread = (contrast(tested.samples["recall/x"], {n: 1.0}, 200) for n in ("a", "b"))
    got = mean_of(tested, "a", "recall/x")
    assert (got.low, got.high) == (many.low, many.high)
    # b's first seed has one wrong, its others more: the exact interval is the narrower.
    got = mean_of(tested, "b", "recall/x")
    assert (got.low, got.high) == (max(0.0, spread.low), 1.0)
    assert spread.low < clopper_pearson(100 * spread.value, 100)[0] and spread.high > 1


# --- effects -------------------------------------------------------------------------------------

GRID = {
    "model=a augment=none": [first(2)],  # .9
    "model=a augment=flip": [first(4)],  # .8
    "model=b augment=none": [first(6)],  # .7
    "model=b augment=flip": [first(10)],  # .5
}


def found(tested: SameTests) -> list[tuple[str, int, float]]:
    return [(e.name, e.pairs, round(e.of["accuracy"].value, 9)) for e in effects(tested)]


def test_an_effect_is_the_mean_difference_of_cells_that_differ_in_nothing_else() -> None:
    assert found(sweep(GRID)) == [
        ("model: a → b", 2, -0.25),  # ((.7 - .9) + (.5 - .8)) / 2
        ("augment: none → flip", 2, -0.15),  # ((.8 - .9) + (.5 - .7)) / 2
    ]


def test_an_effect_is_paired_by_image() -> None:
    tested = sweep({"lr=1": [first(8)], "lr=2": [first(8)], "lr=3": [first(9)]})
    same, worse = effects(tested)
    assert same.of["accuracy"] == Interval(0.0) and same.of["f1_macro"].value == 0
    # One image of twenty: no resample is above 0, most are -1/20 or -2/20.
    found = worse.of["accuracy"]
    assert found.value == pytest.approx(-0.05)
    assert -0.25 < found.low < -0.05 and found.high == 0


def test_an_effect_on_macro_f1() -> None:
    (effect,) = effects(sweep({"model=a": [()], "model=b": [first(2)]}))
    # x: 8 of 10, none wrongly called so: 2 * 8 / (10 + 8). y: 10, and 2 more called so.
    found = effect.of["f1_macro"]
    assert found.value == pytest.approx((16 / 18 + 20 / 22) / 2 - 1)
    assert found.low < found.value < found.high <= 0


def test_cells_without_a_partner_do_not_enter() -> None:
    unbalanced = {words: runs for words, runs in GRID.items() if words != "model=b augment=flip"}
    assert found(sweep(unbalanced)) == [
        ("model: a → b", 1, -0.2),  # .7 - .9
        ("augment: none → flip", 1, -0.1),  # .8 - .9
    ]
    diagonal = {words: GRID[words] for words in ("model=a augment=none", "model=b augment=flip")}
    assert found(sweep(diagonal)) == []


def test_each_level_is_set_against_the_first() -> None:
    cells = {f"lr={n} augment=none": [first(n)] for n in (4, 2, 10)}
    assert found(sweep(cells)) == [
        ("lr: 4 → 2", 1, 0.1),  # .9 - .8
        ("lr: 4 → 10", 1, -0.3),  # .5 - .8
    ]


def test_a_factor_that_some_cells_lack_is_a_level_without_name() -> None:
    cells = {"model=a": [first(2)], "model=a drop=0.5": [first(4)], "model=b": [first(6)]}
    assert found(sweep(cells)) == [
        ("model: a → b", 1, -0.2),  # of the two that lack it
        ("drop:  → 0.5", 1, -0.1),
    ]


# --- pairs ---------------------------------------------------------------------------------------


def test_of_eight_cells_all_pairs_are_compared_of_nine_each_with_the_best() -> None:
    eight = {f"lr={i}": [first(5 + i)] for i in range(8)}
    pairs = [(c.first, c.second) for c in pairs_of(sweep(eight))]
    assert len(pairs) == 8 * 7 / 2
    assert pairs[:2] == [("0", "1"), ("0", "2")] and pairs[-1] == ("6", "7")
    nine = pairs_of(sweep(eight | {"lr=best": [first(3), first(9)]}))
    # The new one is right in .85 and .55, .7 over its seeds; the first in .75.
    assert [(c.first, c.second) for c in nine] == [
        ("0", other) for other in ("1", "2", "3", "4", "5", "6", "7", "best")
    ]
    assert nine[-1].difference.value == pytest.approx(0.05)


def test_one_seed_is_judged_by_an_exact_test_and_holm() -> None:
    cells = {"model=a": [()], "model=b": [first(6)], "model=c": [[*first(5), 19]]}
    found = pairs_of(sweep(cells))
    # a alone has 6 images right: 2 / 2^6 = .03125, of three .09375. b and c: one each, p 1.
    assert [c.difference.p for c in found] == pytest.approx([0.03125, 0.03125, 1.0])
    assert [c.p_holm for c in found] == pytest.approx([0.09375, 0.09375, 1.0])
    assert {c.test for c in found} == {"McNemar, exact"}
    assert found[0].sentence == "“a” and “b” cannot be distinguished with 20 test images."
    alone = {name: cells[name] for name in ("model=b", "model=a")}
    (pair,) = pairs_of(sweep(alone))
    assert pair.sentence == "Of these networks, “a” is more accurate than “b”, by 30.0 points."
    assert (pair.difference.value, pair.p_holm) == pytest.approx((-0.3, 0.03125))


def test_seeds_are_judged_by_their_spread_and_the_patients() -> None:
    tested = sweep({"model=a": [first(10), first(11)], "model=b": [[0], [1, 2], [3]]})
    (pair,) = pairs_of(tested)
    assert pair.difference == contrast(tested.samples["accuracy"], {"a": 1.0, "b": -1.0}, 20)
    # a: .5 and .45. b: .95, .9 and .95.
    assert pair.difference.value == pytest.approx(0.475 - 2.8 / 3)
    assert pair.test == "t contrast"
    assert pair.p_holm == pair.difference.p < 0.01
    assert pair.sentence == "“b” is more accurate than “a”, by 45.8 points."


def test_several_pairs_with_seeds_are_corrected_together() -> None:
    cells = {f"lr={n}": [first(n), [*first(n), 19]] for n in (2, 5, 8, 11)}
    pairs = pairs_of(sweep(cells))
    assert [c.p_holm for c in pairs] == holm([c.difference.p for c in pairs])
    assert min(c.difference.p for c in pairs) < 0.05 < max(c.difference.p for c in pairs)


def test_a_single_seed_against_several_is_a_contrast_without_seed_variance_of_its_own() -> None:
    tested = sweep({"model=a": [first(40)], "model=b": [first(4), first(6), first(8)]}, n=200)
    (pair,) = pairs_of(tested)
    a, b = (tested.samples["accuracy"][name] for name in "ab")
    # a: .8. b: .98, .97 and .96, with s² = 1e-4, / 3.
    patients = np.var(a[:, 1:].mean(axis=0) - b[:, 1:].mean(axis=0), ddof=1)
    assert pair.difference.value == pytest.approx(-0.17)
    df = (patients + 1e-4 / 3) ** 2 / (patients**2 / 199 + (1e-4 / 3) ** 2 / 2)
    error = np.sqrt(patients + 1e-4 / 3)
    assert pair.difference.p == pytest.approx(2 * t.sf(0.17 / error, df))
    assert pair.difference.high == pytest.approx(-0.17 + t.ppf(0.975, df) * error)
    assert pair.sentence == "Of these networks, “b” is more accurate than “a”, by 17.0 points."


@pytest.mark.parametrize("n_resamples", [100, 400])
def test_few_resamples_do_not_hide_a_difference_among_many_pairs(n_resamples: int) -> None:
    # 28 pairs; a p that counts 100 resamples is at least .02, corrected .55.
    cells = {f"lr={i}": [first(5), first(6)] for i in range(7)} | {"lr=7": [first(90), first(91)]}
    found = pairs_of(sweep(cells, n=200, n_resamples=n_resamples))
    assert len(found) == 28
    assert [c.p_holm < 1e-6 for c in found] == [c.second == "7" for c in found]


def test_cells_of_other_images_are_compared_among_themselves_only() -> None:
    labels = [0] * 10 + [1] * 10
    cells = [
        cell({"data": d, "model": m}, np.eye(2)[[labels[:n]]], labels[:n], ["x", "y"])
        for d, n in (("all", 20), ("few", 15))
        for m in "ab"
    ]
    sets = same_tests(cells, 100)
    assert [[c.name for c in tested.cells] for tested in sets] == [
        ["all, a", "all, b"],
        ["few, a", "few, b"],
    ]
    found = comparisons(sets)
    assert [(c.first, c.second, c.n) for c in found] == [
        ("all, a", "all, b", 20),
        ("few, a", "few, b", 15),
    ]
    assert [e.name for tested in sets for e in effects(tested, " (here)")] == [
        "model: a → b (here)"
    ] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"labels": [1] + [0] * 9 + [1] * 10},  # an image of another class
        {"patients": ["0.png", "0.png", *(f"{i}.png" for i in range(2, 20))]},
        {"classes": ["y", "x"]},
    ],
)
def test_other_labels_patients_or_classes_are_another_test_set(other: dict[str, list[str]]) -> None:
    labels = [0] * 10 + [1] * 10
    usual = {"labels": labels, "classes": ["x", "y"], "patients": None}
    cells = [
        cell({"m": n}, np.eye(2)[[labels]], **u) for n, u in (("a", usual), ("b", usual | other))
    ]
    assert len(same_tests(cells, 100)) == 2


def test_what_no_seed_and_no_resample_changes_has_no_p() -> None:
    (pair,) = pairs_of(sweep({"model=a": [(), ()], "model=b": [first(20), first(20)]}))
    assert (pair.difference.value, pair.difference.p, pair.p_holm) == (1.0, None, 1.0)
    assert pair.sentence == (
        "“a” and “b” differ by 100.0 points; how much of it is chance cannot be estimated."
    )


def test_the_same_predictions_differ_by_exactly_nothing() -> None:
    runs = [(0, 1, 2), (3,), (4, 5)]
    (pair,) = pairs_of(sweep({"model=a": runs, "model=b": runs}))
    assert (pair.difference.value, pair.p_holm) == (0.0, 1.0)
    assert pair.sentence == "“a” and “b” cannot be distinguished with 20 test images."


def width(tested: SameTests) -> float:
    (pair,) = pairs_of(tested)
    return float(pair.difference.high - pair.difference.low)


def test_what_is_hard_for_everyone_cancels() -> None:
    hard = list(range(0, 400, 4))
    own = {"model=a": [[*hard, 1, 2, 3, 5, 6, 7, 9, 10]], "model=b": [[*hard, *range(13, 16)]]}
    own["model=b"][0] += [17, 18, 19, 21, 22]
    tested = sweep(own, n=400)
    alone = [mean_of(tested, name, "accuracy") for name in "ab"]
    unpaired = np.hypot(*(mean.high - mean.low for mean in alone))
    # Unpaired 2 * 1.96 * sqrt(2 * .27 * .73 / 400), paired 2 * 1.96 * sqrt(16) / 400: .12 and .039
    assert unpaired == pytest.approx(0.12, rel=0.15)
    assert width(tested) == pytest.approx(0.039, rel=0.25)


def test_images_of_a_patient_are_no_independent_witnesses() -> None:
    cells = {"model=a": [range(40)], "model=b": [range(60, 100)]}
    by_image = width(sweep(cells, n=400))
    by_patient = width(sweep(cells, n=400, patients=[f"p{i // 4}" for i in range(400)]))
    assert by_patient == pytest.approx(2 * by_image, rel=0.2)  # four images as one: sqrt(4)


def test_four_equal_recipes_are_rarely_told_apart() -> None:
    rng, n, alarms = np.random.default_rng(0), 120, 0
    patients = [f"p{i // 3}" for i in range(n)]
    for _ in range(70):
        hard = 0.8 * np.repeat(rng.normal(size=n // 3), 3)  # for every network
        cells = {}
        for name in "abcd":
            of_cell = 0.8 * np.repeat(rng.normal(size=n // 3), 3)
            own = 0.1 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, n))
            cells[f"model={name}"] = [np.flatnonzero(row) for row in hard + of_cell + own < -1]
        found = pairs_of(sweep(cells, n, patients, n_resamples=100))
        alarms += any(pair.p_holm < 0.05 for pair in found)
    assert alarms <= binom.isf(0.001, 70, 0.05)
