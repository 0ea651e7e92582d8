"""What is written for TensorBoard: the layout of its charts, and precision-recall curves."""

import re

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from cxr_lightning.callbacks.dashboard import layout, pr_curve

CLASSES = ["COVID-19 (PCR)", "NORMAL"]


def charts(has_val: bool) -> dict[str, str]:
    """Chart title to the pattern of the tags that it draws."""
    categories = layout(CLASSES, has_val).values()
    return {
        title: patterns[0]
        for category in categories
        for title, (kind, patterns) in category.items()
        if kind == "Multiline" and len(patterns) == 1
    }


def test_each_chart_draws_one_tag_of_all_runs() -> None:
    patterns = charts(has_val=True)
    expected = {
        "training loss": "train/loss",
        "validation loss": "val/loss",
        "validation macro F1": "val/f1_macro",
        "COVID-19 (PCR)": "val/recall/COVID-19 (PCR)",  # the brackets are no pattern's
        "NORMAL": "val/recall/NORMAL",
    }
    assert patterns.keys() == expected.keys()
    for title, tag in expected.items():
        matching = [other for other in expected.values() if re.search(patterns[title], other)]
        assert matching == [tag]


def test_without_validation_images_the_charts_are_of_training() -> None:
    patterns = charts(has_val=False)
    assert list(patterns) == ["training loss", "training macro F1", *CLASSES]
    assert re.search(patterns["NORMAL"], "train/recall/NORMAL")
    assert not any(re.search(pattern, "val/loss") for pattern in patterns.values())


def test_a_curve_by_hand() -> None:
    positive = np.array([True, True, False, False])
    tp, fp, tn, fn, precision, recall = pr_curve(positive, np.array([1.0, 0.5, 0.5, 0.0]))
    # Threshold 0: all four are called positive, two rightly.
    assert (tp[0], fp[0], tn[0], fn[0], precision[0], recall[0]) == (2, 2, 0, 0, 0.5, 1)
    # Threshold 63/126 = .5: three are called, two rightly; the last image is not.
    assert (tp[63], fp[63], tn[63], fn[63]) == (2, 1, 1, 0)
    assert (precision[63], recall[63]) == pytest.approx((2 / 3, 1))
    # Above .5: the first alone.
    assert (tp[64], fp[64], tn[64], fn[64], precision[64], recall[64]) == (1, 0, 2, 1, 1, 0.5)


def test_a_curve_agrees_with_scikit_learn_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(60) < 0.3
    scores = np.clip(0.3 * positive + 0.6 * rng.random(60), 0, 1)
    *_, precision, recall = pr_curve(positive, scores)
    for i, threshold in enumerate(np.linspace(0, 1, 127)):
        called = scores >= threshold
        assert precision[i] == pytest.approx(precision_score(positive, called, zero_division=1))
        assert recall[i] == pytest.approx(recall_score(positive, called))


def test_a_class_without_images_has_a_curve_of_zeros() -> None:
    tp, _, _, fn, precision, recall = pr_curve(np.zeros(3, dtype=bool), np.array([0.1, 0.2, 0.3]))
    assert tp.tolist() == fn.tolist() == recall.tolist() == [0.0] * 127
    assert precision[0] == 0
    assert precision[-1] == 1  # nothing is called positive
