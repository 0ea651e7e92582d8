"""Every number the framework reports on a set of predictions, and its 95% interval.

`compute_metrics` is the one definition of these numbers; `estimate` applies it to the images as
they are and to every bootstrap resample: a value and its interval cannot mean different things.
With t images of class k, p images predicted as k, h of those correctly, and s images in all:

| metric              | definition                     | special cases                           |
|---------------------|--------------------------------|-----------------------------------------|
| accuracy            | sum of h / s                   |                                         |
| recall/k            | h / t                          | undefined if t = 0                      |
| precision/k         | h / p                          | undefined if t = 0, else 0 if p = 0     |
| f1/k                | 2h / (t + p)                   | undefined if t = 0                      |
| specificity/k       | (s - t - p + h) / (s - t)      | undefined if t = s, defined if t = 0    |
| auroc/k             | P(k scores above non-k), tie ½ | undefined if t = 0 or t = s             |
| average_precision/k | sum of precision * recall step | undefined if t = 0, 1 if t = s          |
| <metric>_macro      | mean over classes with t > 0   | undefined if one of them is (t = s)     |
| mcc                 | Gorodkin, equation 8           | undefined if a t = s, else 0 if a p = s |

Undefined is nan in arrays and None in an `Estimate`. balanced_accuracy is recall_macro by its
usual name. An absent class that is predicted costs accuracy, its own specificity and the recall of
the true class. With all classes present, all equals scikit-learn (zero_division=0, one-vs-rest).

Sources: Hanley & McNeil, Radiology 143 (1982) 29, for AUROC; Gorodkin, Comput. Biol. Chem. 28
(2004) 367; Davison & Hinkley, Bootstrap Methods (1997), 3.8 and 5.3, and Field & Welsh, J. R. Stat.
Soc. B 69 (2007) 369, for the percentile bootstrap of clusters; Clopper & Pearson, Biometrika 26
(1934) 404, with the effective trials of Korn & Graubard, Survey Methodology 24 (1998) 193.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# A bootstrap cannot draw errors it has not seen: 41 of 41 would get a width of zero, and 40 of 41 a
# higher lower limit (.927) than the exact one of 41 of 41 (.914), so "95%" intervals would hold
# a recall of .925 in 86% of test sets. Ten is the textbooks' rule for the normal approximation.
FEWEST_PATIENTS = 10
WEIGHTS_PER_CHUNK = 2**22  # 32 MB per array; about ten are alive at once


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval.

    n: images the value rests on: those predicted as k for precision/k, those not of k for
    specificity/k, those of k for any other <metric>/k, else all.
    method: how low and high were found, or why they (and perhaps the value) are None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, n_classes: int) -> Ints:
    """Count images (C, C), rows = true class; both inputs are (n,) integers, 0 to C - 1.

    Raises ValueError if the inputs differ in length, are empty or hold anything else.
    """
    true, called = _indices(labels, n_classes), _indices(predicted, n_classes)
    _require(len(true) == len(called), f"{len(true)} labels but {len(called)} predicted classes.")
    matrix: Ints = _confusion(true, called, n_classes, np.ones((1, len(true))))[0].astype(np.int64)
    return matrix


def compute_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    weights: ArrayLike | None = None,
    *,
    ranking: bool = True,
) -> dict[str, Floats]:
    """Compute all metrics of the module's table, once for each row of weights.

    labels: (n,) integers, 0 to C - 1. probabilities: (n, C), rows summing to 1; the predicted class
    is the highest, the first among equals. classes: the C names. weights: (R, n), how often each
    image counts; None = once (R = 1). ranking: False leaves out auroc and average_precision, which
    take most of the time. Returns name -> (R,) in [0, 1] (mcc: [-1, 1]), nan where undefined.
    Raises ValueError if the inputs disagree or hold anything else.
    """
    true, scores = _checked(labels, probabilities, classes)
    counts = np.ones((1, len(true))) if weights is None else np.asarray(weights, dtype=np.float64)
    _require(counts.shape[1:] == true.shape, f"weights must be (R, {len(true)}): {counts.shape}.")
    matrix = _confusion(true, scores.argmax(axis=1), len(classes), counts)
    hits = np.diagonal(matrix, axis1=1, axis2=2)  # (R, C), as all that follow
    actual, called = matrix.sum(axis=2), matrix.sum(axis=1)
    total = actual.sum(axis=1, keepdims=True)
    present = actual > 0
    by_class = {
        "precision": np.where(present, _ratio(hits, called, 0.0), np.nan),
        "recall": _ratio(hits, actual),
        "specificity": _ratio(total - actual - called + hits, total - actual),
        "f1": np.where(present, _ratio(2 * hits, actual + called), np.nan),
    }
    if ranking:
        curves = [_ranking(true == k, scores[:, k], counts) for k in range(len(classes))]
        by_class["auroc"], by_class["average_precision"] = np.stack(curves, axis=-1)
    sums = {name: np.where(present, values, 0.0).sum(axis=1) for name, values in by_class.items()}
    macro = {f"{name}_macro": _ratio(sums[name], present.sum(axis=1)) for name in by_class}
    return {
        "accuracy": _ratio(hits.sum(axis=1), total[:, 0]),
        "balanced_accuracy": macro["recall_macro"],
        **macro,
        "mcc": _mcc(hits, actual, called),
        **{f"{m}/{c}": v[:, k] for m, v in by_class.items() for k, c in enumerate(classes)},
    }


def estimate(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """Compute all metrics with intervals; labels, probabilities, classes as in `compute_metrics`.

    groups: (n,) the patient of each image; None = every image its own patient. Whole patients are
    drawn with replacement. Resamples in which a metric is undefined are left out, and `method` says
    how many ("bootstrap of 1990 of 2000 resamples by patient"). Where resampling would mislead:

    - accuracy, precision/k, recall/k, specificity/k with fewer than ten patients who have an error,
      or a success: "Clopper-Pearson", its trials being patients, as if a patient's images were
      copies (rather too wide than too narrow; 0 to 1 for precision/k of a k never predicted);
    - other metrics, if a class they rest on has one patient or if no resample changes them (an f1
      of 1): no limits, and "not estimable: " with the reason.

    A class without errors adds no width to a macro mean: read that beside the classes' intervals.
    Raises ValueError if the inputs disagree or an image has no group.
    """
    true, scores = _checked(labels, probabilities, classes)
    _require(n_resamples >= 1, f"n_resamples must be at least 1, not {n_resamples}.")
    _require(0 < confidence < 1, f"confidence must lie between 0 and 1, not {confidence}.")
    patients = _patients(groups, len(true))
    unit = "image" if patients.max() + 1 == len(true) else "patient"
    draws = _draws(patients, n_resamples, seed)
    drawn = [compute_metrics(true, scores, classes, weights) for weights in draws]
    called = scores.argmax(axis=1)
    one_patient = any(len(np.unique(patients[true == k])) == 1 for k in range(len(classes)))

    def one(name: str, value: float) -> Estimate:
        concerned, success = _basis(name, true, called, classes)
        n, trials = int(concerned.sum()), len(np.unique(patients[concerned]))
        if np.isnan(value):
            return Estimate(None, None, None, 0, "undefined")
        if success is not None:
            if has_few_patients(patients[concerned], success[concerned]):
                limits = clopper_pearson(value * trials, trials, confidence)
                return Estimate(value, *limits, n, "Clopper-Pearson")
        elif trials == 1 or (one_patient and name.endswith(("_macro", "balanced_accuracy"))):
            return Estimate(value, None, None, n, "not estimable: a class of one patient")
        samples = np.concatenate([metrics[name] for metrics in drawn])
        samples = samples[~np.isnan(samples)]
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(samples, tails).tolist() if len(samples) else (value, value)
        if high - low < 1e-12:
            reason = "no errors" if value == 1 else "no resample differs"
            return Estimate(value, None, None, n, f"not estimable: {reason}")
        defined = "" if len(samples) == n_resamples else f"{len(samples)} of "
        method = f"bootstrap of {defined}{n_resamples} resamples by {unit}"
        return Estimate(value, low, high, n, method)

    point = compute_metrics(true, scores, classes)
    return {name: one(name, float(value[0])) for name, value in point.items()}


def resample_patients(groups: Sequence[str], n_resamples: int, seed: int) -> Iterator[Floats]:
    """Draw whole patients with replacement; groups (n,): the patient of each image.

    Yields how often each image was drawn, in chunks of (r, n), n_resamples rows in all.
    """
    return _draws(_patients(groups, len(groups)), n_resamples, seed)


def clopper_pearson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the exact interval of a proportion; fractions as in Korn & Graubard (1998)."""
    tail, failures = (1 - confidence) / 2, n - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0
    return low, high


def has_few_patients(patients: ArrayLike, success: ArrayLike) -> bool:
    """Whether fewer than ten of the patients (n,) have a success, or an error, among their images.

    A bootstrap then cannot be trusted: see `FEWEST_PATIENTS`.
    """
    of_image, right = np.asarray(patients), np.asarray(success, dtype=bool)
    return min(len(np.unique(of_image[x])) for x in (right, ~right)) < FEWEST_PATIENTS


def _basis(name: str, true: Ints, called: Ints, classes: Sequence[str]) -> tuple[Mask, Mask | None]:
    """Return the images (n,) a metric rests on and, for a proportion, those that are successes."""
    metric, _, of_class = name.partition("/")
    if not of_class:
        return np.ones(len(true), dtype=bool), true == called if metric == "accuracy" else None
    own, named = (indices == classes.index(of_class) for indices in (true, called))
    proportions = {"precision": (named, own), "recall": (own, named), "specificity": (~own, ~named)}
    return proportions.get(metric, (own, None))


def _draws(patients: Ints, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Draw whole patients with replacement; yield how often each image came, (r, n) at a time."""
    generator, n_patients = np.random.default_rng(seed), int(patients.max()) + 1
    chunk = max(1, WEIGHTS_PER_CHUNK // len(patients))
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        times = generator.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size)
        yield times[:, patients].astype(np.float64)


def _confusion(true: Ints, called: Ints, n_classes: int, weights: Floats) -> Floats:
    """Add up weights (R, n) into confusion matrices (R, C, C), rows = true class."""
    one_hot = np.eye(n_classes)[called]
    return np.stack([weights[:, true == k] @ one_hot[true == k] for k in range(n_classes)], axis=1)


def _ranking(positive: Mask, scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Compute AUROC and average precision, each (R,), of scores (n,); equal scores are one step."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of each run of equal scores
    weights = weights[:, order]
    hits = np.add.reduceat(weights * positive[order], starts, axis=1)  # (R, distinct scores)
    misses = np.add.reduceat(weights * ~positive[order], starts, axis=1)
    hits_above, misses_above = hits.cumsum(axis=1), misses.cumsum(axis=1)  # at this score or above
    n_hits, n_misses = hits_above[:, -1], misses_above[:, -1]
    pairs_won = np.einsum("rk,rk->r", misses, hits_above - hits / 2)  # a tie is half a win
    precision = _ratio(hits_above, hits_above + misses_above, 0.0)
    precision_sum = np.einsum("rk,rk->r", hits, precision)
    return _ratio(pairs_won, n_hits * n_misses), _ratio(precision_sum, n_hits)


def _mcc(hits: Floats, actual: Floats, called: Floats) -> Floats:
    """Correlate predicted and true class, (R, C) each: Gorodkin (2004), equation 8."""
    total = actual.sum(axis=1)
    covariance = total * hits.sum(axis=1) - (actual * called).sum(axis=1)
    spread = [np.sqrt(total**2 - (x**2).sum(axis=1)) for x in (actual, called)]
    return _ratio(covariance, spread[0] * spread[1], np.where(spread[0] > 0, 0.0, np.nan))


def _ratio(above: Floats, below: Floats | Ints, undefined: float | Floats = np.nan) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(below.shape, undefined), where=below > 0)
    return ratio


def _checked(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str]) -> tuple[Ints, Floats]:
    distinct = len(set(classes)) == len(classes) > 1
    _require(distinct, f"classes must be two or more different names, not {list(classes)}.")
    true, p = _indices(labels, len(classes)), np.asarray(scores, dtype=np.float64)
    shape = (len(true), len(classes))
    _require(p.shape == shape, f"probabilities must be of shape {shape}, not {p.shape}.")
    bad = np.flatnonzero(~np.isfinite(p).all(axis=1)).tolist()
    _require(not bad, f"probabilities of {len(bad)} images are nan or infinite: images {bad[:5]}.")
    # 0.01 leaves room for softmax in bfloat16 and for rounding in a CSV, not for logits.
    sums_to_one = p.min() >= 0 and np.abs(p.sum(axis=1) - 1).max() < 0.01
    _require(sums_to_one, "probabilities of an image must be >= 0 with sum 1: are these logits?")
    return true, p


def _indices(values: ArrayLike, n_classes: int) -> Ints:
    indices = np.asarray(values)
    _require(indices.size > 0, "There are no labels: the set of images is empty.")
    integers = indices.ndim == 1 and indices.dtype.kind in "iu"
    _require(integers, f"labels must be integers (n,), not {indices.dtype} {indices.shape}.")
    low, high, top = indices.min(), indices.max(), n_classes - 1
    _require(low >= 0 and high <= top, f"labels must be 0 to {top}; they go from {low} to {high}.")
    return indices.astype(np.int64)


def _patients(groups: Sequence[str] | None, n: int) -> Ints:
    if groups is None:
        return np.arange(n)
    named = sum(isinstance(group, str) and group != "" for group in groups)  # nan is no patient
    _require(named == len(groups) == n, f"{n} images, {len(groups)} groups: {named} are names.")
    numbers = {patient: i for i, patient in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[patient] for patient in groups])


def _require(condition: bool | np.bool_, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)
