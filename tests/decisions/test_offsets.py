"""Offsets after training: arithmetic by hand, and choices whose best value is known."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from cxr_lightning.decisions.offsets import (
    adjusted,
    choose_tau,
    choose_thresholds,
    mean_recall,
    prior_offsets,
)


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(labels, predicted, average="macro"))


def test_tau_divides_by_the_share_in_training() -> None:
    p = np.array([[0.2, 0.8]])
    # Shares .1 and .9: .2 / .1 = 2 and .8 / .9 = .889, which makes .692 and .308.
    result = adjusted(p, prior_offsets([10, 90], tau=1.0))
    assert result[0] == pytest.approx([2 / (2 + 8 / 9), (8 / 9) / (2 + 8 / 9)])
    half = adjusted(p, prior_offsets([10, 90], tau=0.5))
    a, b = 0.2 / 0.1**0.5, 0.8 / 0.9**0.5
    assert half[0] == pytest.approx([a / (a + b), b / (a + b)])
    assert adjusted(p, prior_offsets([10, 90], tau=0.0))[0] == pytest.approx([0.2, 0.8])


def test_a_probability_of_zero_stays_a_number() -> None:
    assert np.isfinite(adjusted(np.array([[0.0, 1.0]]), prior_offsets([10, 90], 3.0))).all()


def test_the_chosen_tau_is_the_one_that_undoes_the_prior() -> None:
    """Probabilities that are right under the prior are balanced by τ = 1."""
    rng = np.random.default_rng(0)
    counts, n = [100, 900], 40_000
    labels = (rng.random(n) < 0.9).astype(np.int64)
    x = rng.normal(np.where(labels == 1, 0.6, -0.6))
    odds = np.exp(2 * 0.6 * x) * 9  # likelihood ratio of the two normal curves, times 0.9 / 0.1
    p = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    tau = choose_tau(labels, p, counts)
    assert tau == pytest.approx(1.0, abs=0.15)
    before = mean_recall(labels, p.argmax(axis=1))
    after = mean_recall(labels, adjusted(p, prior_offsets(counts, tau)).argmax(axis=1))
    assert after > before + 0.1


def test_where_every_tau_is_as_good_the_middle_is_taken() -> None:
    labels = np.array([0, 1])
    p = np.array([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]])
    assert choose_tau(labels, p, [10, 90]) == 1.5


def test_a_threshold_of_two_classes_lies_in_the_middle_of_the_gap() -> None:
    p1 = np.array([0.05, 0.10, 0.20, 0.40, 0.45])
    labels = np.array([0, 0, 0, 1, 1])  # 1 from anywhere between .2 and .4 on
    offsets = choose_thresholds(labels, np.stack([1 - p1, p1], axis=1), macro_f1)
    threshold = 1 / (1 + np.exp(offsets[1] - offsets[0]))
    logits = np.log([0.2 / 0.8, 0.4 / 0.6])
    assert threshold == pytest.approx(1 / (1 + np.exp(-logits.mean())))
    called = adjusted(np.stack([1 - p1, p1], axis=1), offsets).argmax(axis=1)
    assert called.tolist() == labels.tolist()


def test_thresholds_of_four_classes_find_weights_that_were_taken_away() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(4, size=400)
    logits = rng.normal(size=(400, 4)) + 4 * np.eye(4)[labels] + [0, -3, 2, -4]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    before = macro_f1(labels, p.argmax(axis=1))
    offsets = choose_thresholds(labels, p, macro_f1)
    after = macro_f1(labels, adjusted(p, offsets).argmax(axis=1))
    unshifted = macro_f1(labels, (logits - [0, -3, 2, -4]).argmax(axis=1))
    assert before < 0.7
    assert after >= unshifted - 0.005  # chosen on these very images, so hardly worse
    assert offsets[0] == 0
