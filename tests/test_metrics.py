"""The numbers of metrics.py against hand arithmetic, scikit-learn, torchmetrics and simulation."""

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm
from scipy.stats import binom
from sklearn import metrics as sk

from cxr_lightning.metrics import (
    WEIGHTS_PER_CHUNK,
    clopper_pearson,
    compute_metrics,
    confusion_matrix,
    estimate,
)

CLASSES = ["COVID-19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
IMBALANCED = [0.14, 0.30, 0.50, 0.06]

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def simulate(
    n: int, seed: int, decimals: int | None = None, skill: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and probabilities; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(4), rng.choice(4, n - 4, p=IMBALANCED)]  # every class at least once
    logits = rng.normal(size=(n, 4))
    logits[np.arange(n), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None:
        probabilities[:, :3] = probabilities[:, :3].round(decimals)
        probabilities[:, 3] = 1 - probabilities[:, :3].sum(axis=1)
        probabilities = np.abs(probabilities.round(decimals))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities


def certain(predicted: Sequence[int], n_classes: int) -> np.ndarray:
    """Give the predicted class probability 1."""
    return np.eye(n_classes)[np.asarray(predicted)]


def by_sklearn(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Compute every metric with scikit-learn; all classes must be present."""
    predicted = probabilities.argmax(axis=1)
    indices = list(range(probabilities.shape[1]))
    one_vs_rest = np.eye(len(indices), dtype=int)[labels]
    w = {"sample_weight": weights}
    scores = {"labels": indices, "zero_division": 0, **w}
    p, r, f, _ = sk.precision_recall_fscore_support(labels, predicted, **scores)
    pm, rm, fm, _ = sk.precision_recall_fscore_support(labels, predicted, average="macro", **scores)
    specificity = [
        sk.recall_score(labels != k, predicted != k, zero_division=0, **w) for k in indices
    ]
    auroc = [sk.roc_auc_score(labels == k, probabilities[:, k], **w) for k in indices]
    precision = [sk.average_precision_score(labels == k, probabilities[:, k], **w) for k in indices]
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted, **w),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted, **w),
        "precision_macro": pm,
        "recall_macro": rm,
        "specificity_macro": np.mean(specificity),
        "f1_macro": fm,
        "auroc_macro": sk.roc_auc_score(
            labels, probabilities, multi_class="ovr", average="macro", **w
        ),
        "average_precision_macro": sk.average_precision_score(
            one_vs_rest, probabilities, average="macro", **w
        ),
        "mcc": sk.matthews_corrcoef(labels, predicted, **w),
    }
    per_class = {"precision": p, "recall": r, "specificity": specificity, "f1": f}
    per_class |= {"auroc": auroc, "average_precision": precision}
    for metric, values in per_class.items():
        expected |= {f"{metric}/{c}": v for c, v in zip(CLASSES, values, strict=True)}
    return expected


def agree(ours: dict[str, np.ndarray], expected: dict[str, float], row: int = 0) -> None:
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name][row] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize(("n", "skill"), [(12, 1.5), (300, 0.0), (771, 1.5), (771, 6.0)])
def test_every_metric_equals_sklearn(n: int, skill: float, decimals: int | None) -> None:
    labels, probabilities = simulate(n, seed=n, decimals=decimals, skill=skill)
    agree(compute_metrics(labels, probabilities, CLASSES), by_sklearn(labels, probabilities))


def test_float32_ties_survive() -> None:
    labels, probabilities = simulate(400, seed=2, decimals=1)
    single = probabilities.astype(np.float32)
    ours = compute_metrics(labels, single, CLASSES)
    for k, name in enumerate(CLASSES):
        assert ours[f"auroc/{name}"][0] == pytest.approx(
            sk.roc_auc_score(labels == k, single[:, k]), abs=1e-12
        )


@pytest.mark.parametrize("decimals", [None, 1])
def test_weights_are_repeats(decimals: int | None) -> None:
    labels, probabilities = simulate(200, seed=5, decimals=decimals)
    weights = np.random.default_rng(6).integers(0, 4, size=(5, 200))
    weights[:, :4] = np.maximum(weights[:, :4], 1)  # every class stays
    ours = compute_metrics(labels, probabilities, CLASSES, weights)
    for row, times in enumerate(weights):
        repeated = np.repeat(labels, times), np.repeat(probabilities, times, axis=0)
        agree(ours, by_sklearn(*repeated), row)
        agree(ours, by_sklearn(labels, probabilities, times), row)


def test_torchmetrics_agrees() -> None:
    labels, probabilities = simulate(500, seed=9)
    ours = compute_metrics(labels, probabilities, CLASSES)
    target, preds = torch.tensor(labels), torch.tensor(probabilities)
    theirs = {
        "accuracy": tm.MulticlassAccuracy(4, average="micro"),
        "balanced_accuracy": tm.MulticlassAccuracy(4, average="macro"),
        "specificity_macro": tm.MulticlassSpecificity(4, average="macro"),
        "f1_macro": tm.MulticlassF1Score(4, average="macro"),
        "auroc_macro": tm.MulticlassAUROC(4, average="macro"),
        "average_precision_macro": tm.MulticlassAveragePrecision(4, average="macro"),
        "mcc": tm.MulticlassMatthewsCorrCoef(4),
    }
    for name, metric in theirs.items():
        assert ours[name][0] == pytest.approx(float(metric(preds, target)), abs=1e-6), name


def test_by_hand() -> None:
    #            predicted a  b  c
    matrix = [
        [4, 1, 0],  # true a: 5
        [2, 6, 2],  # true b: 10
        [0, 1, 4],  # true c: 5
    ]  # predicted    6  8  6   of 20, 14 on the diagonal
    cells = [(t, p) for t in range(3) for p in range(3) for _ in range(matrix[t][p])]
    labels, predicted = np.array(cells).T
    assert confusion_matrix(labels, predicted, 3).tolist() == matrix
    assert confusion_matrix(labels, predicted, 3).dtype == np.int64

    ours = compute_metrics(labels, certain(predicted, 3), list("abc"))
    expected = {
        "accuracy": 14 / 20,
        "recall/a": 4 / 5,
        "recall/b": 6 / 10,
        "recall/c": 4 / 5,
        "balanced_accuracy": (0.8 + 0.6 + 0.8) / 3,
        "precision/a": 4 / 6,
        "precision/b": 6 / 8,
        "precision/c": 4 / 6,
        "precision_macro": (2 / 3 + 3 / 4 + 2 / 3) / 3,
        "specificity/a": 13 / 15,  # of 15 not a, 2 are called a
        "specificity/b": 8 / 10,
        "specificity/c": 13 / 15,
        "f1/a": 8 / 11,  # 2 * 4 / (5 + 6)
        "f1/b": 12 / 18,
        "f1/c": 8 / 11,
        # Scores are 1 or 0, so the ROC curve has one corner: area = (recall + specificity) / 2.
        "auroc/a": (4 / 5 + 13 / 15) / 2,
        # Down to the called ones: recall 0 to 4/5 at precision 4/6; then the rest at 5/20.
        "average_precision/a": 4 / 5 * 4 / 6 + 1 / 5 * 5 / 20,
        # (20 * 14 - (5*6 + 10*8 + 5*6)) / sqrt((400 - 25 - 100 - 25) * (400 - 36 - 64 - 36))
        "mcc": 140 / np.sqrt(250 * 264),
    }
    for name, value in expected.items():
        assert ours[name][0] == pytest.approx(value, abs=1e-14), name


def test_absent_class_is_undefined_and_left_out() -> None:
    # No image of c; one of the two b is called c.
    ours = compute_metrics([0, 0, 1, 1], certain([0, 0, 1, 2], 3), list("abc"))
    value = {name: v[0] for name, v in ours.items()}
    for metric in ("recall", "precision", "f1", "auroc", "average_precision"):
        assert np.isnan(value[f"{metric}/c"]), metric
    assert value["specificity/c"] == 3 / 4  # defined: four images are not c, one is called c
    assert value["accuracy"] == 3 / 4
    assert value["recall_macro"] == value["balanced_accuracy"] == (1 + 1 / 2) / 2
    assert value["precision_macro"] == 1
    assert value["specificity_macro"] == 1  # of a and b: the macro means are all over one set
    assert value["f1_macro"] == pytest.approx((1 + 2 / 3) / 2)
    assert value["auroc_macro"] == (1 + 3 / 4) / 2  # b: of 2 * 2 pairs 2 won and 2 tied at 0

    estimates = estimate([0, 0, 1, 1], certain([0, 0, 1, 2], 3), list("abc"), n_resamples=50)
    absent = estimates["recall/c"]
    assert (absent.value, absent.low, absent.high, absent.n) == (None, None, None, 0)
    assert absent.method == "undefined"


def test_never_predicted_class_has_precision_zero() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    ours = compute_metrics(labels, certain([0, 0, 1, 1, 1, 1], 3), list("abc"))
    assert ours["precision/c"][0] == ours["f1/c"][0] == ours["recall/c"][0] == 0
    assert ours["precision_macro"][0] == (1 + 2 / 4 + 0) / 3
    got = estimate(labels, certain([0, 0, 1, 1, 1, 1], 3), list("abc"), n_resamples=50)
    precision = got["precision/c"]
    assert (precision.value, precision.low, precision.high, precision.n) == (0, 0, 1, 0)


def test_one_class_only() -> None:
    value = {k: v[0] for k, v in compute_metrics([1, 1], certain([1, 0], 2), list("ab")).items()}
    assert value["accuracy"] == value["recall_macro"] == 1 / 2
    assert value["specificity/a"] == 1 / 2
    assert value["average_precision/b"] == 1
    for name in ("specificity/b", "specificity_macro", "auroc/b", "auroc_macro", "mcc"):
        assert np.isnan(value[name]), name


def test_constant_prediction() -> None:
    labels, _ = simulate(100, seed=1)
    constant = certain([2] * 100, 4)
    agree(compute_metrics(labels, constant, CLASSES), by_sklearn(labels, constant))
    got = estimate(labels, constant, CLASSES, n_resamples=200)
    assert (got["mcc"].value, got["auroc_macro"].value) == (0, 0.5)
    assert (got["mcc"].low, got["mcc"].high) == (None, None)
    assert got["mcc"].method == "not estimable: no resample differs"


def test_accuracy_interval_is_as_wide_as_the_binomial() -> None:
    p, n = 0.8, 200
    rng, widths, covered = np.random.default_rng(0), [], []
    for seed in range(100):
        labels = rng.integers(2, size=n)
        predicted = np.where(rng.random(n) < p, labels, 1 - labels)
        got = estimate(labels, certain(predicted, 2), list("ab"), n_resamples=500, seed=seed)
        accuracy = got["accuracy"]
        assert accuracy.low is not None and accuracy.high is not None
        widths.append(accuracy.high - accuracy.low)
        covered.append(accuracy.low <= p <= accuracy.high)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / n), rel=0.1)
    assert np.mean(covered) >= 0.88  # 95 expected; P(binomial(100, .95) < 88) = .001


def test_patients_not_images_carry_information() -> None:
    labels, probabilities = simulate(250, seed=3)
    names = [f"person{i}" for i in range(250)]
    copies = np.repeat(labels, 4), np.repeat(probabilities, 4, axis=0)

    def width(name: str, *args: object) -> float:
        got = estimate(*args, n_resamples=1000)[name]  # type: ignore[arg-type]
        assert got.low is not None and got.high is not None
        return got.high - got.low

    for name in ("accuracy", "f1_macro", "auroc/NORMAL", "mcc"):
        single = width(name, labels, probabilities, CLASSES)
        by_patient = width(name, *copies, CLASSES, [p for p in names for _ in range(4)])
        by_image = width(name, *copies, CLASSES)
        # One seed, one draw of patients: the very same resamples, each image four times.
        assert by_patient == pytest.approx(single, rel=1e-9), name
        assert by_image == pytest.approx(single / 2, rel=0.15), name


def test_method_says_what_was_resampled() -> None:
    labels, probabilities = simulate(300, seed=4, skill=1.0)
    pairs = [f"p{i // 2}" for i in range(300)]
    distinct = [f"p{i}" for i in range(300)]
    by_patient = estimate(labels, probabilities, CLASSES, pairs, n_resamples=100)
    by_image = estimate(labels, probabilities, CLASSES, distinct, n_resamples=100)
    assert by_patient["accuracy"].method == "bootstrap of 100 resamples by patient"
    assert by_image["accuracy"].method == "bootstrap of 100 resamples by image"


def test_no_errors_is_no_certainty() -> None:
    labels = np.repeat([0, 1], [41, 60])
    perfect = estimate(labels, certain(labels, 2), ["TB", "rest"], n_resamples=100)
    recall = perfect["recall/TB"]
    # All 41 right: low solves p^41 = .025, so low = .025^(1/41) = .9140
    assert recall.low == pytest.approx(0.025 ** (1 / 41), abs=1e-9)
    assert (round(recall.low or 0, 3), recall.high, recall.n) == (0.914, 1.0, 41)
    assert recall.method == "Clopper-Pearson"
    f1 = perfect["f1_macro"]
    assert (f1.value, f1.low, f1.high) == (1, None, None)
    assert f1.method == "not estimable: no errors"

    # The same images from 10 patients are ten trials, not 41: .025^(1/10) = .6915
    groups = [f"p{i % 10}" for i in range(41)] + [f"q{i}" for i in range(60)]
    recall = estimate(labels, certain(labels, 2), ["TB", "rest"], groups, n_resamples=100)[
        "recall/TB"
    ]
    assert recall.low == pytest.approx(0.025 ** (1 / 10), abs=1e-9)
    assert recall.n == 41

    # None right of 41: high = 1 - .025^(1/41)
    recall = estimate(labels, certain(1 - labels, 2), ["TB", "rest"], n_resamples=100)["recall/TB"]
    assert (recall.value, recall.low) == (0, 0)
    assert recall.high == pytest.approx(1 - 0.025 ** (1 / 41), abs=1e-9)


def test_few_errors() -> None:
    """The recall of 41 images for every number of errors: limits in order, coverage as promised."""
    labels = np.repeat([0, 1], [41, 60])
    lows, highs = [], []
    for errors in range(42):
        predicted = np.r_[np.ones(errors, int), labels[errors:]]
        got = estimate(labels, certain(predicted, 2), ["TB", "rest"], n_resamples=2000)
        recall = got["recall/TB"]
        assert (recall.method == "Clopper-Pearson") == (errors < 10 or errors > 31)
        lows.append(recall.low)
        highs.append(recall.high)
    assert lows == sorted(lows, reverse=True)  # an error more never raises the lower limit
    assert highs == sorted(highs, reverse=True)
    for p in np.linspace(0.01, 0.99, 99):
        held = (np.array(lows) <= p) & (p <= np.array(highs))
        chance = binom.pmf(np.arange(42), 41, 1 - p)
        assert (chance * held).sum() > 0.92, p  # with the exact interval at 41 of 41 only: .86


def test_clopper_pearson() -> None:
    # Published example values: 0 of 10 -> .3085 (1 - .025^.1); 5 of 10 -> .1871, .8129
    assert clopper_pearson(0, 10) == (0, pytest.approx(0.30850, abs=1e-5))
    assert clopper_pearson(5, 10) == pytest.approx((0.18709, 0.81291), abs=1e-5)
    assert clopper_pearson(0, 0) == (0, 1)


def test_a_class_of_one_patient_has_no_interval() -> None:
    labels, probabilities = simulate(200, seed=8)
    labels[labels == 3] = 2
    labels[:3] = 3  # three images of one patient are all there is of tuberculosis
    groups = ["tb"] * 3 + [f"p{i}" for i in range(197)]
    got = estimate(labels, probabilities, CLASSES, groups, n_resamples=200)
    for name in ("auroc/TUBERCULOSIS", "f1/TUBERCULOSIS", "f1_macro", "balanced_accuracy"):
        assert got[name].value is not None
        assert (got[name].low, got[name].high) == (None, None)
        assert got[name].method == "not estimable: a class of one patient"
    assert got["recall/TUBERCULOSIS"].method == "Clopper-Pearson"
    assert "bootstrap" in got["auroc/NORMAL"].method


def test_resamples_without_the_class_are_counted() -> None:
    labels, probabilities = simulate(200, seed=8)
    labels[labels == 3] = 2
    labels[:2] = 3
    got = estimate(labels, probabilities, CLASSES, n_resamples=1000)["auroc/TUBERCULOSIS"]
    _, _, used, _, total, *_ = got.method.split()
    # Each resample misses both images with probability (1 - 2/200)^200 = .134
    assert int(used) / int(total) == pytest.approx(1 - 0.134, abs=0.04)


def test_what_n_counts() -> None:
    labels, probabilities = simulate(300, seed=4)
    predicted = probabilities.argmax(axis=1)
    got = estimate(labels, probabilities, CLASSES, n_resamples=20)
    assert got["accuracy"].n == got["f1_macro"].n == got["mcc"].n == 300
    assert got["recall/NORMAL"].n == got["auroc/NORMAL"].n == (labels == 1).sum()
    assert got["precision/NORMAL"].n == (predicted == 1).sum()
    assert got["specificity/NORMAL"].n == (labels != 1).sum()


def test_the_seed_decides() -> None:
    labels, probabilities = simulate(150, seed=1)
    first = estimate(labels, probabilities, CLASSES, n_resamples=200, seed=7)
    assert first == estimate(labels, probabilities, CLASSES, n_resamples=200, seed=7)
    assert first != estimate(labels, probabilities, CLASSES, n_resamples=200, seed=8)
    point = compute_metrics(labels, probabilities, CLASSES)
    assert list(first) == list(point)
    assert all(first[name].value == point[name][0] for name in point)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = simulate(150, seed=1)
    whole = estimate(labels, probabilities, CLASSES, n_resamples=200)
    assert WEIGHTS_PER_CHUNK > 150 * 200
    monkeypatch.setattr("cxr_lightning.metrics.WEIGHTS_PER_CHUNK", 150 * 7)
    assert estimate(labels, probabilities, CLASSES, n_resamples=200) == whole


def test_wider_confidence_is_wider() -> None:
    labels, probabilities = simulate(300, seed=1)
    narrow, wide = (
        estimate(labels, probabilities, CLASSES, n_resamples=300, confidence=c)["f1_macro"]
        for c in (0.8, 0.99)
    )
    assert wide.low is not None and narrow.low is not None
    assert wide.high is not None and narrow.high is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_warning_on_tiny_sets() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 2, 3, 5):
            estimate(np.arange(n) % 4, certain(np.zeros(n, int), 4), CLASSES, n_resamples=20)


GOOD = certain([0, 1, 2], 3)


@pytest.mark.parametrize(
    ("labels", "probabilities", "options", "sentence"),
    [
        ([0, 1], GOOD, {}, r"probabilities must be of shape \(2, 3\), not \(3, 3\)"),
        ([0, 1, 3], GOOD, {}, "labels must be 0 to 2; they go from 0 to 3"),
        ([-1, 1, 2], GOOD, {}, "labels must be 0 to 2; they go from -1 to 2"),
        ([0.0, 1.0, 2.0], GOOD, {}, "labels must be integers"),
        ([0, 1, 2], GOOD * [[1], [np.nan], [1]], {}, r"1 images are nan or infinite: images \[1\]"),
        ([0, 1, 2], GOOD * 5 - 2, {}, "are these logits"),
        ([], np.empty((0, 3)), {}, "the set of images is empty"),
        ([0, 1, 2], GOOD, {"groups": ["p1", "p2"]}, "3 images, 2 groups: 2 are names"),
        (
            [0, 1, 2],
            GOOD,
            {"groups": ["p1", "p2", float("nan")]},
            "3 images, 3 groups: 2 are names",
        ),
        ([0, 1, 2], GOOD, {"n_resamples": 0}, "n_resamples must be at least 1, not 0"),
        ([0, 1, 2], GOOD, {"confidence": 95}, "confidence must lie between 0 and 1, not 95"),
    ],
)
def test_wrong_input_is_told(
    labels: object, probabilities: object, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        estimate(labels, probabilities, list("abc"), **options)  # type: ignore[arg-type]


def test_wrong_names_weights_and_predictions_are_told() -> None:
    with pytest.raises(ValueError, match="classes must be two or more different names"):
        compute_metrics([0, 1, 2], GOOD, ["a", "b", "a"])
    with pytest.raises(ValueError, match=r"weights must be \(R, 3\)"):
        compute_metrics([0, 1, 2], GOOD, list("abc"), weights=np.ones(3))
    with pytest.raises(ValueError, match="3 labels but 2 predicted"):
        confusion_matrix([0, 1, 2], [0, 1], 3)
