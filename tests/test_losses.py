"""Each loss against hand arithmetic, and against cross-entropy where it must fall back to it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.losses import (
    FocalLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    build_loss,
    effective_number_weights,
    inverse_frequency,
)

LossOf = Callable[..., Tensor]

COUNTS = [10, 30, 60]  # N = 100, C = 3
# Softmax of a row of logarithms is the row of shares: the true classes have p = .5, .6, .1.
SHARES = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.7, 0.2, 0.1]]
LABELS = torch.tensor([0, 1, 2])
TRUE_SHARES = (0.5, 0.6, 0.1)


def logits() -> Tensor:
    """Logarithms of the shares, shifted: softmax must not depend on a constant per row."""
    return torch.tensor(SHARES).log() + torch.tensor([[0.0], [3.0], [-5.0]])


def cross_entropy() -> float:
    # -(ln .5 + ln .6 + ln .1) / 3 = (.6931 + .5108 + 2.3026) / 3
    return -sum(math.log(p) for p in TRUE_SHARES) / 3


@pytest.fixture
def loss_of(composed: Callable[..., DictConfig]) -> LossOf:
    """`loss_of("focal", "imbalance.loss.gamma=1")`: the value for the logits and labels above."""

    def value(option: str, *overrides: str) -> Tensor:
        config = parse(TrainConfig, composed("train", f"imbalance={option}", *overrides))
        result: Tensor = build_loss(config.imbalance.loss, COUNTS)(logits(), LABELS)
        return result

    return value


def test_class_weights_are_n_over_c_times_count() -> None:
    # 100 / (3 · 10), 100 / (3 · 30), 100 / (3 · 60)
    expected = torch.tensor([10 / 3, 10 / 9, 5 / 9])
    torch.testing.assert_close(inverse_frequency(COUNTS), expected)


def test_the_mean_class_weight_of_an_image_is_one() -> None:
    counts = [7, 193, 800, 41]
    mean = (inverse_frequency(counts) * torch.tensor(counts)).sum() / sum(counts)
    assert mean.item() == pytest.approx(1, rel=1e-6)


def test_class_weighted_loss_is_torchs_weighted_mean(loss_of: LossOf) -> None:
    # Weights 10/3, 10/9, 5/9 are as 6 : 2 : 1, and torch divides by their sum:
    # -(6 ln .5 + 2 ln .6 + 1 ln .1) / 9
    expected = -(6 * math.log(0.5) + 2 * math.log(0.6) + math.log(0.1)) / 9
    assert loss_of("class_weights").item() == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(cross_entropy(), rel=0.1)  # or this would prove nothing


@pytest.mark.parametrize("name", ["none", "balanced_sampler"])
def test_without_a_loss_of_its_own_an_option_uses_plain_cross_entropy(
    name: str, loss_of: LossOf
) -> None:
    assert loss_of(name).item() == pytest.approx(cross_entropy(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_weighs_each_image_by_how_wrong_it_is(gamma: float, loss_of: LossOf) -> None:
    # mean of -(1 - p)^γ ln p; for γ = 2: (.25 · .6931 + .16 · .5108 + .81 · 2.3026) / 3
    expected = -sum((1 - p) ** gamma * math.log(p) for p in TRUE_SHARES) / 3
    assert loss_of("focal", f"imbalance.loss.gamma={gamma}").item() == pytest.approx(
        expected, rel=1e-6
    )


def test_focal_loss_with_gamma_2_has_the_number_worked_out_on_paper(loss_of: LossOf) -> None:
    # .173287 + .081732 + 1.865094 = 2.120113; / 3 = .706704
    assert loss_of("focal").item() == pytest.approx(0.706704, abs=1e-6)


def test_focal_loss_with_gamma_0_is_cross_entropy(loss_of: LossOf) -> None:
    assert loss_of("focal", "imbalance.loss.gamma=0").item() == pytest.approx(
        cross_entropy(), rel=1e-6
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_a_certain_image_has_finite_gradients(gamma: float) -> None:
    certain = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    loss = FocalLoss(gamma)(certain, torch.tensor([0, 0]))  # surely right, surely wrong
    loss.backward()
    # 0 and (1 - e^-200)^γ · 200; their mean
    assert loss.item() == pytest.approx(100)
    assert certain.grad is not None
    assert certain.grad.isfinite().all()
    assert certain.grad[1].abs().sum() > 0


def test_logit_adjustment_adds_the_log_of_the_class_share() -> None:
    # Shares .8 and .2, equal logits, τ = 1: softmax of (ln .8, ln .2) is (.8, .2), so an image of
    # the common class costs -ln .8 = .2231 and one of the rare class -ln .2 = 1.6094.
    loss = LogitAdjustedLoss([80, 20], tau=1)
    equal = torch.zeros(1, 2)
    assert loss(equal, torch.tensor([0])).item() == pytest.approx(0.223144, abs=1e-6)
    assert loss(equal, torch.tensor([1])).item() == pytest.approx(1.609438, abs=1e-6)


def test_tau_is_the_power_of_the_class_share() -> None:
    # τ = 2: softmax of 2 (ln .8, ln .2) is (.64, .04) / .68, so the rare class costs ln 17.
    loss = LogitAdjustedLoss([80, 20], tau=2)
    value = loss(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(math.log(17), rel=1e-6)


def test_logit_adjustment_by_name_uses_the_training_counts(loss_of: LossOf) -> None:
    # Row by row p_y n_y / Σ p n, n = 10, 30, 60: 5/(5+9+12), 18/(2+18+12), 6/(7+6+6).
    expected = -(math.log(5 / 26) + math.log(18 / 32) + math.log(6 / 19)) / 3
    assert loss_of("logit_adjustment").item() == pytest.approx(expected, rel=1e-6)


def test_logit_adjustment_with_tau_0_is_cross_entropy(loss_of: LossOf) -> None:
    assert loss_of("logit_adjustment", "imbalance.loss.tau=0").item() == pytest.approx(
        cross_entropy(), rel=1e-6
    )


@pytest.mark.parametrize("option", ["none", "class_weights", "logit_adjustment"])
def test_label_smoothing_gives_every_class_its_share(option: str, loss_of: LossOf) -> None:
    # ε = .3: .7 of the true class's loss and .1 of each of the three, or .3 by the classes' shares
    # where the logits are adjusted; an image's loss is weighted with the weight of its class.
    weights = {"class_weights": [10 / 3, 10 / 9, 5 / 9]}.get(option, [1, 1, 1])
    shift = {"logit_adjustment": [0.1, 0.3, 0.6]}.get(option, [1, 1, 1])
    total = 0.0
    for shares, label in zip(SHARES, LABELS.tolist(), strict=True):
        adjusted = [p * s for p, s in zip(shares, shift, strict=True)]
        log_p = [math.log(a / sum(adjusted)) for a in adjusted]
        doubt = sum(0.3 * s / sum(shift) * one for s, one in zip(shift, log_p, strict=True))
        total -= weights[label] * (0.7 * log_p[label] + doubt)
    value = loss_of(option, "+imbalance.loss.label_smoothing=0.3")
    assert value.item() == pytest.approx(total / sum(weights), rel=1e-5)


def test_a_loss_of_torch_is_a_line_of_yaml(loss_of: LossOf) -> None:
    # Margin loss of a row: Σ over wrong classes of max(0, 1 - x_true + x) / C; logits are ln p.
    rows = [(0.5, (0.3, 0.2)), (0.6, (0.2, 0.2)), (0.1, (0.7, 0.2))]
    hinges = [max(0, 1 - math.log(true / p)) for true, wrong in rows for p in wrong]
    value = loss_of("none", "imbalance.loss._target_=torch.nn.MultiMarginLoss")
    assert value.item() == pytest.approx(sum(hinges) / 3 / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (
            {"_target_": "torch.nn.BCEWithLogitsLoss"},
            r"must turn logits \(2, 3\) and labels \(2,\), class indices, into a n",
        ),
        (
            {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"},
            "one finite number",
        ),
        (
            {"_target_": "torch.nn.Identity"},
            r"The loss `torch.nn.Identity` must turn .* it fails: Identity.forward",
        ),
        ({"_target_": "cxr_lightning.models.losses.FocalLos"}, "did you mean `FocalLoss`"),
        ({"_target_": "cxr_lightning.models.losses.FocalLoss", "gamma": -1}, "gamma should be gre"),
        ({"_target_": "cxr_lightning.models.losses.LogitAdjustedLoss", "tau": -1}, "tau should be"),
        ({"_target_": "cxr_lightning.models.losses.FocalLoss", "gamma": "abc"}, "gamma='abc' of"),
        ({"_target_": "cxr_lightning.models.losses.FocalLoss", "tau": 1}, "unexpected.*'tau'"),
        ({"gamma": 1}, "without `_target_`"),
    ],
)
def test_a_loss_that_cannot_work_is_a_sentence(node: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_loss(node, COUNTS)


def test_a_class_without_training_images_has_no_finite_loss() -> None:
    node = {"_target_": "cxr_lightning.models.losses.LogitAdjustedLoss"}
    with pytest.raises(ConfigError, match=r"one finite number per batch.*it returned (inf|nan)"):
        build_loss(node, [0, 30, 60])


def test_effective_number_weights_by_hand() -> None:
    # β = .5, counts 1, 2, 3: (1 - β) / (1 - β^n) = .5/.5, .5/.75, .5/.875 = 1, .6667, .5714.
    # The mean weight of an image is (1 + 1.3333 + 1.7143) / 6 = .67460; divided by it:
    expected = torch.tensor([1.0, 2 / 3, 4 / 7]) / 0.674603
    torch.testing.assert_close(
        effective_number_weights([1, 2, 3], 0.5), expected, rtol=1e-5, atol=0
    )


def test_effective_numbers_go_from_equal_weights_to_inverse_frequency() -> None:
    torch.testing.assert_close(effective_number_weights(COUNTS, 0.0), torch.ones(3))
    nearly = effective_number_weights(COUNTS, 1 - 1e-9)
    torch.testing.assert_close(nearly, inverse_frequency(COUNTS), rtol=1e-4, atol=0)
    with pytest.raises(ConfigError, match="less than 1"):
        effective_number_weights(COUNTS, 1.0)


def test_ldam_lowers_the_true_logit_by_a_margin_of_its_class(loss_of: LossOf) -> None:
    # Margins .5 · (10 / n)^(1/4): .5, .37992, .31948. True logits ln p - margin, others ln p.
    margins = [0.5 * (10 / n) ** 0.25 for n in COUNTS]
    expected = 0.0
    for p, margin in zip(TRUE_SHARES, margins, strict=True):
        lowered = p * math.exp(-margin)
        expected -= math.log(lowered / (lowered + 1 - p)) / 3
    assert loss_of("ldam_drw").item() == pytest.approx(expected, rel=1e-5)


def test_ldam_weights_the_classes_late_in_the_training() -> None:
    loss = LDAMLoss(COUNTS, max_margin=0.0, reweight_from=0.8, beta=1 - 1e-9)
    assert loss(logits(), LABELS).item() == pytest.approx(cross_entropy(), rel=1e-5)
    loss.set_progress(0.79)
    assert loss(logits(), LABELS).item() == pytest.approx(cross_entropy(), rel=1e-5)
    loss.set_progress(0.8)
    weights = [10 / 3, 10 / 9, 5 / 9]  # inverse frequency; torch's mean is by weight
    weighted = sum(-w * math.log(p) for w, p in zip(weights, TRUE_SHARES, strict=True))
    expected = weighted / sum(weights)
    assert loss(logits(), LABELS).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("option", ["none", "focal", "logit_adjustment", "ldam_drw"])
def test_shares_of_one_class_are_its_label(
    option: str, composed: Callable[..., DictConfig]
) -> None:
    config = parse(TrainConfig, composed("train", f"imbalance={option}"))
    loss = build_loss(config.imbalance.loss, COUNTS, takes_shares=True)
    shares = torch.nn.functional.one_hot(LABELS, 3).float()
    torch.testing.assert_close(loss(logits(), shares), loss(logits(), LABELS))


def test_focal_loss_of_shares_is_the_mean_over_them() -> None:
    half = torch.tensor([[0.5, 0.5, 0.0]])
    value = FocalLoss(2.0)(torch.tensor([[0.5, 0.3, 0.2]]).log(), half)
    expected = -(0.5 * 0.5**2 * math.log(0.5) + 0.5 * 0.7**2 * math.log(0.3))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("option", ["none", "focal", "ldam_drw", "effective_number"])
def test_label_smoothing_spreads_a_share_over_all_classes(option: str, loss_of: LossOf) -> None:
    smoothed = loss_of(option, "+imbalance.loss.label_smoothing=0.3")
    assert smoothed.item() != pytest.approx(loss_of(option).item(), rel=1e-3)


def test_smoothed_focal_loss_without_focus_is_smoothed_cross_entropy() -> None:
    expected = torch.nn.functional.cross_entropy(logits(), LABELS, label_smoothing=0.3)
    torch.testing.assert_close(FocalLoss(0.0, 0.3)(logits(), LABELS), expected)


def test_smoothed_labels_leave_every_class_the_same_doubt_after_adjustment() -> None:
    """The best logits for an image of class 1 under τ = 1 and ε = .3, by hand."""
    # The target is .7 · (0, 1, 0) + .3 · (.1, .3, .6) = (.03, .79, .18); divided by the shares of
    # the classes: .3, 2.63, .3. So both wrong classes have the same logit.
    loss = LogitAdjustedLoss(COUNTS, tau=1.0, label_smoothing=0.3)
    own = torch.tensor([[0.3, 0.79 / 0.3, 0.3]]).log().requires_grad_()
    loss(own, torch.tensor([1])).backward()
    assert own.grad is not None
    torch.testing.assert_close(own.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)
