"""Means, effects and pairs of cells, on twenty images whose mistakes are given."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom

from cxr_lightning.metrics import clopper_pearson
from cxr_lightning.sweeps.aligned import Aligned, Cell
from cxr_lightning.sweeps.comparisons import cell_mean, comparisons, effects
from cxr_lightning.sweeps.contrasts import contrast, holm


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_lightning.sweeps.aligned.N_RESAMPLES", 200)


def sweep(
    mistakes: dict[str, Sequence[Sequence[int]]],
    n: int = 20,
    patients: Sequence[str] | None = None,
    seeds: dict[str, list[str]] | None = None,
) -> Aligned:
    """`{"model=a augment=none": [(0, 1)]}`: a cell with one seed that has images 0 and 1 wrong.

    The first half of the n images is of class x, the other of y; each its own patient.
    """
    labels = np.arange(n) * 2 // n
    cells = []
    for words, runs in mistakes.items():
        wrong = np.array([np.isin(np.arange(n), run) for run in runs])
        names = (seeds or {}).get(words, [f"seed {i}" for i in range(len(runs))])
        values = dict(word.split("=") for word in words.split())
        cells.append(Cell(values, names, np.eye(2)[np.where(wrong, 1 - labels, labels)]))
    paths = [f"{i}.png" for i in range(n)]
    return Aligned(["x", "y"], paths, labels, list(patients or paths), cells)


def first(n: int) -> list[int]:
    return list(range(n))


# --- means ---------------------------------------------------------------------------------------


def test_a_mean_over_seeds_has_the_interval_of_patients_and_seeds() -> None:
    aligned = sweep({"model=a": [range(20), range(10, 35), range(90, 105)]}, n=200)
    got = cell_mean(aligned, aligned.cells[0], "accuracy")
    assert got.value == pytest.approx((180 + 175 + 185) / 600)
    expected = contrast(aligned.samples["accuracy"], {"a": 1.0}, 200)
    assert (got.low, got.high) == (expected.low, expected.high)
    assert got.low < got.value < got.high < 1


def test_where_few_patients_err_a_mean_is_no_surer_than_the_exact_interval() -> None:
    runs = [[*range(15), 150], range(14), [*range(1, 17), 151]]
    aligned = sweep({"model=a": runs, "model=b": [[0], range(40), range(20)]}, n=200)
    a, b = aligned.cells
    # Of class y, a has 1, 0 and 1 of 100 wrong: 298 of 300, as if of 100 patients.
    few = cell_mean(aligned, a, "recall/y")
    assert few.value == pytest.approx(298 / 300)
    assert (few.low, few.high) == (clopper_pearson(298 / 3, 100)[0], 1.0)
    # Of class x 15, 14 and 16: enough.
    many, spread = (contrast(aligned.samples["recall/x"], {n: 1.0}, 200) for n in ("a", "b"))
    got = cell_mean(aligned, a, "recall/x")
    assert (got.low, got.high) == (many.low, many.high)
    # b's first seed has one wrong, its others more: the exact interval is the narrower.
    got = cell_mean(aligned, b, "recall/x")
    assert (got.low, got.high) == (max(0.0, spread.low), 1.0)
    assert spread.low < clopper_pearson(100 * spread.value, 100)[0] and spread.high > 1


# --- effects -------------------------------------------------------------------------------------

GRID = {
    "model=a augment=none": [first(2)],  # .9
    "model=a augment=flip": [first(4)],  # .8
    "model=b augment=none": [first(6)],  # .7
    "model=b augment=flip": [first(10)],  # .5
}


def found(aligned: Aligned) -> list[tuple[str, str, str, int, float]]:
    return [
        (e.factor, e.reference, e.level, e.pairs, round(e.accuracy.value, 9))
        for e in effects(aligned)
    ]


def test_an_effect_is_the_mean_difference_of_cells_that_differ_in_nothing_else() -> None:
    assert found(sweep(GRID)) == [
        ("model", "a", "b", 2, -0.25),  # ((.7 - .9) + (.5 - .8)) / 2
        ("augment", "none", "flip", 2, -0.15),  # ((.8 - .9) + (.5 - .7)) / 2
    ]


def test_an_effect_is_paired_by_image() -> None:
    aligned = sweep({"lr=1": [first(8)], "lr=2": [first(8)], "lr=3": [first(9)]})
    same, worse = effects(aligned)
    assert (same.accuracy.value, same.accuracy.p, same.f1_macro.value) == (0, 1, 0)
    # One image of twenty: no resample is above 0, most are -1/20 or -2/20.
    assert worse.accuracy.value == pytest.approx(-0.05)
    assert -0.25 < worse.accuracy.low < -0.05 and worse.accuracy.high == 0


def test_an_effect_on_macro_f1() -> None:
    (effect,) = effects(sweep({"model=a": [()], "model=b": [first(2)]}))
    # x: 8 of 10, none wrongly called so: 2 * 8 / (10 + 8). y: 10, and 2 more called so.
    assert effect.f1_macro.value == pytest.approx((16 / 18 + 20 / 22) / 2 - 1)
    assert effect.f1_macro.low < effect.f1_macro.value < effect.f1_macro.high <= 0


def test_cells_without_a_partner_do_not_enter() -> None:
    unbalanced = {words: runs for words, runs in GRID.items() if words != "model=b augment=flip"}
    assert found(sweep(unbalanced)) == [
        ("model", "a", "b", 1, -0.2),  # .7 - .9
        ("augment", "none", "flip", 1, -0.1),  # .8 - .9
    ]
    diagonal = {words: GRID[words] for words in ("model=a augment=none", "model=b augment=flip")}
    assert found(sweep(diagonal)) == []


def test_each_level_is_set_against_the_first() -> None:
    cells = {f"lr={n} augment=none": [first(n)] for n in (4, 2, 10)}
    assert found(sweep(cells)) == [
        ("lr", "4", "2", 1, 0.1),  # .9 - .8
        ("lr", "4", "10", 1, -0.3),  # .5 - .8
    ]


def test_a_factor_that_some_cells_lack_is_a_level_without_name() -> None:
    cells = {"model=a": [first(2)], "model=a drop=0.5": [first(4)], "model=b": [first(6)]}
    assert found(sweep(cells)) == [
        ("model", "a", "b", 1, -0.2),  # of the two that lack it
        ("drop", "", "0.5", 1, -0.1),
    ]


# --- pairs ---------------------------------------------------------------------------------------


def test_of_eight_cells_all_pairs_are_compared_of_nine_each_with_the_best() -> None:
    eight = {f"lr={i}": [first(5 + i)] for i in range(8)}
    pairs = [(c.first, c.second) for c in comparisons(sweep(eight))]
    assert len(pairs) == 8 * 7 / 2
    assert pairs[:2] == [("0", "1"), ("0", "2")] and pairs[-1] == ("6", "7")
    nine = comparisons(sweep(eight | {"lr=best": [first(3), first(9)]}))
    # The new one is right in .85 and .55, .7 over its seeds; the first in .75.
    assert [(c.first, c.second) for c in nine] == [
        ("0", other) for other in ("1", "2", "3", "4", "5", "6", "7", "best")
    ]
    assert nine[-1].difference.value == pytest.approx(0.05)


def test_one_seed_is_judged_by_an_exact_test_and_holm() -> None:
    cells = {"model=a": [()], "model=b": [first(6)], "model=c": [[*first(5), 19]]}
    found = comparisons(sweep(cells))
    # a alone has 6 images right: 2 / 2^6 = .03125, of three .09375. b and c: one each, p 1.
    assert [c.p for c in found] == pytest.approx([0.03125, 0.03125, 1.0])
    assert [c.p_holm for c in found] == pytest.approx([0.09375, 0.09375, 1.0])
    assert [(t.b, t.c) for c in found for t in c.mcnemar.values()] == [(6, 0), (6, 0), (1, 1)]
    assert found[0].words == "“a” and “b”: not distinguishable at n = 20."
    alone = {name: cells[name] for name in ("model=b", "model=a")}
    (pair,) = comparisons(sweep(alone))
    assert pair.words == "of these networks, “a” is more accurate than “b”, by 30.0 points."
    assert (pair.difference.value, pair.p_holm) == pytest.approx((-0.3, 0.03125))


def test_seeds_are_judged_by_their_spread_and_the_patients() -> None:
    aligned = sweep({"model=a": [first(10), first(11)], "model=b": [[0], [1, 2], [3]]})
    (pair,) = comparisons(aligned)
    assert pair.difference == contrast(aligned.samples["accuracy"], {"a": 1.0, "b": -1.0}, 20)
    # a: .5 and .45. b: .95, .9 and .95.
    assert pair.difference.value == pytest.approx(0.475 - 2.8 / 3)
    assert pair.difference.accounts_for == "patients and seeds"
    assert pair.p == pair.p_holm == pair.difference.p < 0.01
    assert pair.words == "“b” is more accurate than “a”, by 45.8 points."
    # Seed 0: b alone has 1 to 9 right. Seed 1: 0 and 3 to 10. No seed 2 in a.
    assert {s: (t.b, t.c) for s, t in pair.mcnemar.items()} == {"seed 0": (0, 9), "seed 1": (0, 9)}


def test_several_pairs_with_seeds_are_corrected_together() -> None:
    cells = {f"lr={n}": [first(n), [*first(n), 19]] for n in (2, 5, 8, 11)}
    pairs = comparisons(sweep(cells))
    assert [c.p_holm for c in pairs] == holm([c.p for c in pairs])
    assert min(c.p for c in pairs) < 0.05 < max(c.p for c in pairs)


def test_networks_of_other_seeds_have_no_test_of_their_own() -> None:
    cells = {"model=a": [first(1)], "model=b": [first(12)]}
    aligned = sweep(cells, seeds={"model=a": ["seed 0"], "model=b": ["seed 1"]})
    (pair,) = comparisons(aligned)
    assert pair.mcnemar == {}
    assert pair.p == pair.difference.p == 2 / 201  # none of 200 resamples is on the other side


def test_the_same_predictions_differ_by_exactly_nothing() -> None:
    runs = [(0, 1, 2), (3,), (4, 5)]
    (pair,) = comparisons(sweep({"model=a": runs, "model=b": runs}))
    assert (pair.difference.value, pair.p, pair.p_holm) == (0.0, 1.0, 1.0)
    assert all((test.b, test.c, test.p) == (0, 0, 1.0) for test in pair.mcnemar.values())
    assert len(pair.mcnemar) == 3


def width(aligned: Aligned) -> float:
    (pair,) = comparisons(aligned)
    return float(pair.difference.high - pair.difference.low)


def test_what_is_hard_for_everyone_cancels() -> None:
    hard = list(range(0, 400, 4))
    own = {"model=a": [[*hard, 1, 2, 3, 5, 6, 7, 9, 10]], "model=b": [[*hard, *range(13, 16)]]}
    own["model=b"][0] += [17, 18, 19, 21, 22]
    aligned = sweep(own, n=400)
    alone = [cell_mean(aligned, cell, "accuracy") for cell in aligned.cells]
    unpaired = np.hypot(*(mean.high - mean.low for mean in alone))
    # Unpaired 2 * 1.96 * sqrt(2 * .27 * .73 / 400), paired 2 * 1.96 * sqrt(16) / 400: .12 and .039
    assert unpaired == pytest.approx(0.12, rel=0.15)
    assert width(aligned) == pytest.approx(0.039, rel=0.25)


def test_images_of_a_patient_are_no_independent_witnesses() -> None:
    cells = {"model=a": [range(40)], "model=b": [range(60, 100)]}
    by_image = width(sweep(cells, n=400))
    by_patient = width(sweep(cells, n=400, patients=[f"p{i // 4}" for i in range(400)]))
    assert by_patient == pytest.approx(2 * by_image, rel=0.2)  # four images as one: sqrt(4)


def test_four_equal_recipes_are_rarely_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_lightning.sweeps.aligned.N_RESAMPLES", 100)
    rng, n, alarms = np.random.default_rng(0), 120, 0
    patients = [f"p{i // 3}" for i in range(n)]
    for _ in range(70):
        hard = 0.8 * np.repeat(rng.normal(size=n // 3), 3)  # for every network
        cells = {}
        for name in "abcd":
            of_cell = 0.8 * np.repeat(rng.normal(size=n // 3), 3)
            own = 0.1 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, n))
            cells[f"model={name}"] = [np.flatnonzero(row) for row in hard + of_cell + own < -1]
        found = comparisons(sweep(cells, n, patients))
        alarms += any(pair.p_holm < 0.05 for pair in found)
    assert alarms <= binom.isf(0.001, 70, 0.05)
