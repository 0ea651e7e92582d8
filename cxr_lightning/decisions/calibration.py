"""Probabilities that mean what they say: one temperature, found on validation images.

Sources: Guo, Pleiss, Sun & Weinberger, ICML 2017, for the temperature and the calibration error in
15 equal bins of confidence; Brier, Monthly Weather Review 78 (1950) 1, for the score.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from cxr_lightning.decisions.offsets import log_of
from cxr_lightning.metrics import Floats, Ints, resample_patients

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Score:
    """A number that says how well probabilities are calibrated, with its 95% interval."""

    value: float
    low: float
    high: float


def fit_temperature(labels: Ints, probabilities: Floats) -> float:
    """The T that makes softmax(log p / T) most likely on these images, between 0.05 and 20.

    labels (n,), probabilities (n, C). Above 1 the network was too sure of itself.
    """
    log_p = log_of(probabilities)
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return -float(log_softmax(log_p / np.exp(log_t), axis=1)[rows, labels].mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """softmax(log p / T), (n, C); the most probable class stays the same."""
    return softmax(log_of(probabilities) / temperature, axis=1)  # type: ignore[no-any-return]


def brier(labels: Ints, probabilities: Floats) -> Floats:
    """Each image's squared distance between probabilities and truth, summed over classes, (n,)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return np.square(probabilities - truth).sum(axis=1)  # type: ignore[no-any-return]


def log_loss(labels: Ints, probabilities: Floats) -> Floats:
    """Each image's -log p of its true class, (n,)."""
    return -log_of(probabilities)[np.arange(len(labels)), labels]


def calibration_error(labels: Ints, probabilities: Floats) -> float:
    """The expected calibration error of the most probable class, torchmetrics', 15 bins."""
    given = (torch.from_numpy(probabilities), torch.from_numpy(labels))
    n_classes = probabilities.shape[1]
    found = multiclass_calibration_error(*given, num_classes=n_classes, n_bins=BINS, norm="l1")
    return float(found)


def scores(
    labels: Ints, probabilities: Floats, groups: list[str], n_resamples: int
) -> dict[str, Score]:
    """`ece`, `brier` and `log_loss`, with percentile intervals by patient.

    The calibration error of few images is too large by chance, and so are its limits: compare it
    before and after on the same images, not with other sets.
    """
    squared, losses = brier(labels, probabilities), log_loss(labels, probabilities)
    sure = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    drawn: dict[str, list[float]] = {"ece": [], "brier": [], "log_loss": []}
    for weights in resample_patients(groups, n_resamples, seed=0):
        total = weights.sum(axis=1)
        gaps = weights @ (np.eye(BINS)[bins] * (right - sure)[:, None])
        drawn["ece"] += (np.abs(gaps).sum(axis=1) / total).tolist()
        drawn["brier"] += (weights @ squared / total).tolist()
        drawn["log_loss"] += (weights @ losses / total).tolist()
    values = {"ece": calibration_error(labels, probabilities)}
    values |= {"brier": float(squared.mean()), "log_loss": float(losses.mean())}
    found = {}
    for name, value in values.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975]).tolist()
        found[name] = Score(value, low, high)
    return found


def reliability(labels: Ints, probabilities: Floats, n_bins: int = 10) -> tuple[Floats, Ints]:
    """By confidence of the most probable class: mean confidence and accuracy (B, 2), images (B,).

    Empty bins are left out.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((sure * n_bins).astype(np.int64), n_bins - 1)
    filled = np.unique(bins)
    points = [(sure[bins == b].mean(), right[bins == b].mean()) for b in filled]
    return np.array(points), np.array([(bins == b).sum() for b in filled], dtype=np.int64)
