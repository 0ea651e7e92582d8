"""The temperature against scikit-learn's, and each score by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from cxr_lightning.decisions.calibration import (
    brier,
    calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    scores,
    tempered,
)


class Fixed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose logits are its input."""

    classes_ = np.arange(3)

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Fixed":
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=1)

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return x


def films(n: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `sharpness` times too large, and labels drawn from the right ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (n, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return sharpness * logits, labels


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_scikit_learn_s(sharpness: float) -> None:
    logits, labels = films(3000, sharpness)
    found = fit_temperature(labels, softmax(logits, axis=1))
    assert found == pytest.approx(sharpness, rel=0.08)
    theirs = CalibratedClassifierCV(FrozenEstimator(Fixed()), method="temperature")
    theirs.fit(logits, labels)
    expected = theirs.predict_proba(logits)
    np.testing.assert_allclose(tempered(softmax(logits, axis=1), found), expected, atol=2e-4)


def test_a_temperature_keeps_the_order_of_the_classes_and_one_changes_nothing() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(tempered(p, 1.0), p)
    hot = tempered(p, 2.0)
    root = np.sqrt([0.7, 0.2, 0.1])
    np.testing.assert_allclose(hot[0], root / root.sum())
    assert (hot.argmax(axis=1) == p.argmax(axis=1)).all()
    assert np.isfinite(tempered(np.array([[1.0, 0.0, 0.0]]), 3.0)).all()


def test_scores_by_hand() -> None:
    p, labels = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]]), np.array([0, 1, 1, 1])
    np.testing.assert_allclose(brier(labels, p), [0.08, 1.28, 0.32, 0.32])
    np.testing.assert_allclose(log_loss(labels, p), -np.log([0.8, 0.2, 0.6, 0.6]))
    # Two films of confidence .8, half right; two of .6, all right.
    assert calibration_error(labels, p) == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)
    points, n = reliability(labels, p)
    np.testing.assert_allclose(points, [[0.6, 1.0], [0.8, 0.5]])
    assert n.tolist() == [2, 2]


def test_the_intervals_hold_the_values_and_narrow_with_the_films() -> None:
    widths = []
    for n in (200, 3200):
        logits, labels = films(n, 2.0)
        p = softmax(logits, axis=1)
        found = scores(labels, p, [f"p{i}" for i in range(n)], 400)
        for name in ("brier", "log_loss"):
            assert found[name].low < found[name].value < found[name].high
        widths.append(found["brier"].high - found["brier"].low)
        assert found["ece"].value == pytest.approx(calibration_error(labels, p))
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)
