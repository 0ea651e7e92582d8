"""Holm and contrasts by hand, and how often they err in simulated sweeps."""

from collections.abc import Callable
from dataclasses import dataclass
from math import atan, cos, pi, sin, sqrt

import numpy as np
import pytest
from scipy.stats import binom, norm, t

from cxr_lightning.contrasts import Interval, contrast, holm
from cxr_lightning.metrics import Floats, resample_patients

N_SWEEPS = 1000  # of a simulation
# More false alarms than this come once in a thousand times if a sweep gives one with 5%.
MOST_FALSE_ALARMS = int(binom.isf(0.001, N_SWEEPS, 0.05))
BOTH = {"a": 1.0, "b": -1.0}


def sample(*seeds: tuple[float, list[float]]) -> Floats:
    """A value and its resamples for each seed."""
    return np.array([[value, *resampled] for value, resampled in seeds])


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # .005 * 4 = .02; .01 * 3 = .03; .03 * 2 = .06; .04 * 1 = .04, not below the .06 before it
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),  # .06, then .04 and .02, which the .06 lifts
        ([0.5, 0.001, 0.6], [1.0, 0.003, 1.0]),  # .001 * 3; .5 * 2; .6, lifted to the 1 before it
        ([0.9, 0.6], [1.0, 1.0]),  # no p is over 1
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm_by_hand(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted, abs=1e-12)


def test_holm_rejects_what_stepping_down_rejects() -> None:
    rng = np.random.default_rng(1)
    for p in rng.random((50, 8)) ** 4:
        for alpha in (0.01, 0.05, 0.3):
            passed = np.sort(p) <= alpha / np.arange(8, 0, -1)  # alpha / 8 for the smallest, …
            steps = int(np.argmin([*passed, False]))  # up to the first that fails
            assert np.flatnonzero(np.array(holm(p.tolist())) <= alpha).tolist() == sorted(
                np.argsort(p)[:steps]
            )


# The means of a are .81, of b .70 ((.68 + .68 + .74) / 3). Resampled, a - b is .14, .10, .09.
A = sample((0.80, [0.83, 0.79, 0.78]), (0.82, [0.85, 0.81, 0.80]))
B = sample((0.68, [0.68, 0.70, 0.66]), (0.68, [0.70, 0.66, 0.70]), (0.74, [0.72, 0.74, 0.74]))


def test_patients_and_seeds_add_up_to_the_error_of_a_difference() -> None:
    got = contrast({"a": A, "b": B}, BOTH, n_patients=8)
    assert got.value == pytest.approx(0.11, abs=1e-12)
    # Patients: .14, .10, .09 are .03, -.01, -.02 from their mean: 14e-4 / 2 = 7e-4, df 8 - 1 = 7.
    # Seeds of a: .01² + .01² = 2e-4, over 2 - 1 = 1, over 2 seeds: 1e-4, df 1.
    # Seeds of b: .02² + .02² + .04² = 24e-4, over 3 - 1 = 2, over 3 seeds: 4e-4, df 2.
    # SE² = (7 + 1 + 4)e-4 = 12e-4. df = 12² / (7²/7 + 1²/1 + 4²/2) = 144 / 16 = 9.
    error = sqrt(12e-4)
    assert (got.low, got.high) == pytest.approx((0.11 - 2.262157 * error, 0.11 + 2.262157 * error))
    # Two-sided p of t = .11 / .0346 with 9 df (Abramowitz & Stegun, 26.7.3)
    angle = atan(0.11 / error / sqrt(9))
    odd = cos(angle) + 2 / 3 * cos(angle) ** 3 + 8 / 15 * cos(angle) ** 5
    odd += 48 / 105 * cos(angle) ** 7
    assert got.p == pytest.approx(1 - 2 / pi * (angle + sin(angle) * odd), abs=1e-9)
    assert 0.011 < got.p < 0.012  # between .02 (t = 2.82) and .01 (t = 3.25) in the tables


def test_a_weight_enters_the_error_of_seeds_squared() -> None:
    agreeing = sample((0.5, [0.54, 0.5, 0.46]), (0.5, [0.54, 0.5, 0.46]))
    differing = sample((0.48, [0.5, 0.5, 0.5]), (0.52, [0.5, 0.5, 0.5]))
    got = contrast({"a": agreeing, "b": differing}, {"a": 0.5, "b": -0.5}, n_patients=5)
    # Patients: half of a is .02, 0, -.02 from its mean: 8e-4 / 2 = 4e-4, df 4.
    # Seeds of b: s² = 2 * .02² = 8e-4, over 2 seeds 4e-4, times .5²: 1e-4, df 1. Those of a: 0.
    # SE² = 5e-4, df = 5² / (4²/4 + 1²/1) = 5.
    assert got.value == pytest.approx(0.0, abs=1e-12)
    assert (got.low, got.high) == pytest.approx((-2.570582 * sqrt(5e-4), 2.570582 * sqrt(5e-4)))
    assert got.p == pytest.approx(1.0)


def test_cells_without_weight_and_undefined_resamples_are_left_out() -> None:
    expected = contrast({"a": A, "b": B}, BOTH, n_patients=8)
    a, b = (np.insert(s, 2, np.nan, axis=1) for s in (A, B))
    cells = {"a": a, "b": b, "c": sample((0.1, [0.1]))}
    assert contrast(cells, BOTH, n_patients=8) == expected


def test_one_seed_gives_the_percentiles_of_the_resampled_difference() -> None:
    # Differences -.01, 0, .01, …, .39: 41 of them.
    drawn = [step / 100 for step in range(-1, 40)]
    a, b = sample((0.7, [0.5 + d for d in drawn[::-1]])), sample((0.5, [0.5] * 41))
    got = contrast({"a": a, "b": b}, BOTH, n_patients=30)
    assert got.value == pytest.approx(0.2)
    # 2.5% of the 40 steps is one step from either end.
    assert (got.low, got.high) == pytest.approx((0.0, 0.38), abs=1e-12)
    assert got.p is None


def test_a_cell_with_one_seed_adds_no_variance_of_seeds() -> None:
    got = contrast({"a": A, "b": sample((0.7, [0.70, 0.74, 0.69]))}, BOTH, n_patients=8)
    # Resampled .84 - .70, .80 - .74, .79 - .69: .14, .06, .10: 16e-4 + 16e-4, / 2 = 16e-4, df 7.
    # Seeds of a: 1e-4, df 1. SE² = 17e-4, df = 17² / (16²/7 + 1²/1) = 7.69.
    half = t.ppf(0.975, 289 / (256 / 7 + 1)) * sqrt(17e-4)
    assert got.value == pytest.approx(0.11)
    assert (got.low, got.high) == pytest.approx((0.11 - half, 0.11 + half))
    assert got.p == pytest.approx(2 * t.sf(0.11 / sqrt(17e-4), 289 / (256 / 7 + 1)))


def test_what_nothing_changes_has_no_limits_and_no_p() -> None:
    fixed = sample((0.8, [0.8, 0.8]), (0.8, [0.8, 0.8]))
    for cells in ({"a": fixed, "b": sample((0.5, [0.5, 0.5]))}, {"a": fixed, "b": fixed}):
        got = contrast(cells, BOTH, n_patients=8)
        assert (got.low, got.high, got.p) == (None, None, None)


@dataclass(frozen=True)
class World:
    """How a simulated network errs: an image is right where a sum of normal terms is above 0."""

    patient: float = 0.8  # hard for every network
    cell: float = 0.3  # a patient hard for every network of a cell
    seed: float = 0.0  # a network worse on all images
    noise: float = 0.5  # of a network and image, of which a patient has three
    patients: int = 60

    def accuracy(self, skill: float) -> float:
        """In the long run of patients and seeds."""
        parts = (self.patient, self.cell, self.seed, self.noise)
        return float(norm.cdf(skill / sqrt(sum(part**2 for part in parts))))

    def count(
        self,
        skills: tuple[float, float],
        seeds: int,
        judge: Callable[[Interval], bool],
        n_sweeps: int = N_SWEEPS,
    ) -> int:
        """Of how many sweeps `judge` says yes; their two cells have these skills."""
        rng, found, n = np.random.default_rng(0), 0, self.patients
        names = [f"p{i}" for i in range(n)]
        for sweep in range(n_sweeps):
            if sweep % 10 == 0:  # resamples are shared by few sweeps, or their luck would count
                draws = resample_patients(names, 300, seed=sweep)
                weights = np.concatenate(list(draws)).T / n
            shared, cells = self.patient * rng.normal(size=(n, 1)), {}
            for name, skill in zip("ab", skills, strict=True):
                hard = shared + self.cell * rng.normal(size=(n, 1))
                seed = self.seed * rng.normal(size=(seeds, 1, 1))
                noise = self.noise * rng.normal(size=(seeds, n, 3))
                right = (skill + hard + seed + noise > 0).mean(axis=2)  # (seeds, patients)
                cells[name] = np.column_stack([right.mean(axis=1), right @ weights])
            found += judge(contrast(cells, BOTH, n))
        return found


PATIENTS_DECIDE = World(cell=0.8, noise=0.2)
SEEDS_DECIDE = World(seed=0.25, cell=0.1, patients=100)


@pytest.mark.parametrize("world", [PATIENTS_DECIDE, SEEDS_DECIDE])
@pytest.mark.parametrize("skills", [(1.0, 1.0), (1.5, 0.8)])
def test_the_interval_of_three_seeds_holds_the_true_difference(
    world: World, skills: tuple[float, float]
) -> None:
    truth = world.accuracy(skills[0]) - world.accuracy(skills[1])

    def misses(found: Interval) -> bool:
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        return not found.low <= truth <= found.high

    assert world.count(skills, 3, misses) <= MOST_FALSE_ALARMS


def test_three_seeds_find_a_difference_that_is_there() -> None:
    world = World(seed=0.05)
    assert world.accuracy(1.3) - world.accuracy(0.8) == pytest.approx(0.115, abs=0.001)
    assert world.count((1.3, 0.8), 3, lambda found: found.p < 0.05) > 0.8 * N_SWEEPS


def misses_nothing(found: Interval) -> bool:
    """Whether the limits leave out 0; a limit of 0 may be 1e-17."""
    assert found.low is not None and found.high is not None
    return not found.low < 1e-12 or not found.high > -1e-12


def test_percentiles_of_single_seeds_miss_as_often_as_theory_says() -> None:
    # `quantile` takes rank 1 + .025 * 299 = 8.475 of 300 resamples, below which a further one would
    # fall with 8.475 / 301 = .0282: z is 1.908. The resamples' variance is 99/100 of the unbiased
    # one, so a t of 99 degrees is out with P(|t| > 1.908 * sqrt(.99)) = .0605; that the limits, on
    # a lattice, count as inside takes a little off. Measured in 300,000 sweeps: .0588 ± .0004.
    theory = 2 * t.sf(-norm.ppf(8.475 / 301) * sqrt(0.99), 99)
    assert theory == pytest.approx(0.0605, abs=1e-4)
    equal_networks = World(patients=100)  # no seed is worse than another
    missed = equal_networks.count((1.0, 1.0), 1, misses_nothing, n_sweeps=5000)
    low, high = binom.ppf([0.001, 0.999], 5000, 0.0588)  # 4.9% and 6.9%
    assert low <= missed <= high


def test_one_seed_speaks_of_networks_not_of_recipes() -> None:
    # The recipes are equal, their networks are not.
    assert SEEDS_DECIDE.count((1.0, 1.0), 1, misses_nothing) > 5 * MOST_FALSE_ALARMS
