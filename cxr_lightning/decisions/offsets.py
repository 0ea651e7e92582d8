"""Offsets on a trained network's log-probabilities: another weight for each class, afterwards."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Score = Callable[[Labels, Labels], float]

TAUS = np.arange(0, 3.0001, 0.05)
ROUNDS = 3  # of the search through the classes
MOST = 500  # thresholds tried per class


def adjusted(probabilities: Floats, offsets: Floats) -> Floats:
    """p · exp(offset), made to sum to 1 again: (n, C) and (C,) to (n, C)."""
    return softmax(log_of(probabilities) + offsets, axis=1)  # type: ignore[no-any-return]


def prior_offsets(class_counts: list[int], tau: float) -> Floats:
    """-τ · log π, π the share of each class in training; (C,).

    With τ = 1 the decision minimises the balanced error, if the network was trained with plain
    cross-entropy on the images as they come (Menon et al., ICLR 2021, equation 9).
    """
    counts = np.array(class_counts, dtype=np.float64)
    return -tau * np.log(counts / counts.sum())  # type: ignore[no-any-return]


def choose_tau(labels: Labels, probabilities: Floats, class_counts: list[int]) -> float:
    """The τ of 0 to 3 with the highest mean recall on these images, in steps of 0.05.

    Of several that are as good, the middle of the longest stretch is taken.
    """
    scores = []
    for tau in TAUS:
        offsets = prior_offsets(class_counts, tau)
        predicted = (log_of(probabilities) + offsets).argmax(axis=1)
        scores.append(mean_recall(labels, predicted))
    return round(_middle_of_best(TAUS, scores), 3)


def choose_thresholds(labels: Labels, probabilities: Floats, score: Score) -> Floats:
    """Offsets (C,) with the highest `score(labels, predicted)` on these images; the first is 0.

    One class after the other gets the offset that is best with the others as they are; an image
    changes its class where two sides are equal, so those are all that need to be tried, and the
    middle of the best stretch is taken. With two classes this is the threshold on one probability.
    """
    log_p, offsets = log_of(probabilities), np.zeros(probabilities.shape[1])
    for _ in range(ROUNDS):
        before = offsets.copy()
        for k in range(1, len(offsets)):
            others = np.delete(log_p + offsets, k, axis=1).max(axis=1)
            edges = np.unique(others - log_p[:, k])
            if len(edges) > MOST:
                edges = np.quantile(edges, np.linspace(0, 1, MOST))
            middles = (edges[1:] + edges[:-1]) / 2
            candidates = np.array([edges[0] - 1, *middles, edges[-1] + 1])
            scores = []
            for value in candidates:
                offsets[k] = value
                scores.append(score(labels, (log_p + offsets).argmax(axis=1)))
            offsets[k] = _middle_of_best(candidates, scores)
        if np.allclose(before, offsets):
            break
    return offsets


def mean_recall(labels: Labels, predicted: Labels) -> float:
    """The mean over the classes that occur of the share of their images that is found."""
    return float(np.mean([(predicted[labels == k] == k).mean() for k in np.unique(labels)]))


def _middle_of_best(candidates: Floats, scores: list[float]) -> float:
    """The middle of the longest stretch of neighbours that all have the highest score."""
    best = np.flatnonzero(np.array(scores) >= max(scores) - 1e-12)
    longest = max(np.split(best, np.flatnonzero(np.diff(best) > 1) + 1), key=len)
    return float(candidates[longest[0]] + candidates[longest[-1]]) / 2


def log_of(probabilities: Floats) -> Floats:
    """Their logarithms, finite also of 0."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
