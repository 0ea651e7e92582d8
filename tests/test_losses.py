"""Each loss against hand arithmetic, and against cross-entropy where it must fall back to it."""

import math

import pytest
import torch
from torch import Tensor, nn

from cxr_lightning.config import ImbalanceConfig
from cxr_lightning.models.losses import (
    FocalLoss,
    LogitAdjustedLoss,
    build_loss,
    inverse_frequency,
)

COUNTS = [10, 30, 60]  # N = 100, C = 3
# Softmax of a row of logarithms is the row of shares: the true classes have p = .5, .6, .1.
SHARES = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.7, 0.2, 0.1]]
LABELS = torch.tensor([0, 1, 2])
TRUE_SHARES = (0.5, 0.6, 0.1)


def logits() -> Tensor:
    """Logarithms of the shares, shifted: softmax must not depend on a constant a row."""
    return torch.tensor(SHARES).log() + torch.tensor([[0.0], [3.0], [-5.0]])


def cross_entropy() -> float:
    # -(ln .5 + ln .6 + ln .1) / 3 = (.6931 + .5108 + 2.3026) / 3
    return -sum(math.log(p) for p in TRUE_SHARES) / 3


def loss_of(name: str, **values: float) -> Tensor:
    loss = build_loss(ImbalanceConfig.model_validate({"name": name, **values}), COUNTS)
    result: Tensor = loss(logits(), LABELS)
    return result


def test_class_weights_are_n_over_c_times_count() -> None:
    # 100 / (3 · 10), 100 / (3 · 30), 100 / (3 · 60)
    expected = torch.tensor([10 / 3, 10 / 9, 5 / 9])
    torch.testing.assert_close(inverse_frequency(torch.tensor(COUNTS).float()), expected)


def test_the_mean_class_weight_of_an_image_is_one() -> None:
    counts = torch.tensor([7.0, 193.0, 800.0, 41.0])
    mean = (inverse_frequency(counts) * counts).sum() / counts.sum()
    assert mean.item() == pytest.approx(1, rel=1e-6)


def test_class_weighted_loss_is_torchs_weighted_mean() -> None:
    # Weights 10/3, 10/9, 5/9 are as 6 : 2 : 1, and torch divides by their sum:
    # -(6 ln .5 + 2 ln .6 + 1 ln .1) / 9
    expected = -(6 * math.log(0.5) + 2 * math.log(0.6) + math.log(0.1)) / 9
    assert loss_of("class_weights").item() == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(cross_entropy(), rel=0.1)  # or this would prove nothing


@pytest.mark.parametrize("name", ["none", "balanced_sampler"])
def test_without_a_loss_of_its_own_an_option_uses_plain_cross_entropy(name: str) -> None:
    assert loss_of(name).item() == pytest.approx(cross_entropy(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_weighs_each_image_by_how_wrong_it_is(gamma: float) -> None:
    # mean of -(1 - p)^γ ln p; for γ = 2: (.25 · .6931 + .16 · .5108 + .81 · 2.3026) / 3
    expected = -sum((1 - p) ** gamma * math.log(p) for p in TRUE_SHARES) / 3
    assert loss_of("focal", gamma=gamma).item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_with_gamma_2_has_the_number_worked_out_on_paper() -> None:
    # .173287 + .081732 + 1.865094 = 2.120113; / 3 = .706704
    assert loss_of("focal", gamma=2).item() == pytest.approx(0.706704, abs=1e-6)


def test_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    assert loss_of("focal", gamma=0).item() == pytest.approx(cross_entropy(), rel=1e-6)


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
    loss = LogitAdjustedLoss(torch.tensor([80.0, 20.0]), tau=1)
    equal = torch.zeros(1, 2)
    assert loss(equal, torch.tensor([0])).item() == pytest.approx(0.223144, abs=1e-6)
    assert loss(equal, torch.tensor([1])).item() == pytest.approx(1.609438, abs=1e-6)


def test_tau_is_the_power_of_the_class_share() -> None:
    # τ = 2: softmax of 2 (ln .8, ln .2) is (.64, .04) / .68, so the rare class costs ln 17.
    loss = LogitAdjustedLoss(torch.tensor([80.0, 20.0]), tau=2)
    value = loss(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(math.log(17), rel=1e-6)


def test_logit_adjustment_by_name_uses_the_training_counts() -> None:
    # Row by row p_y n_y / Σ p n, n = 10, 30, 60: 5/(5+9+12), 18/(2+18+12), 6/(7+6+6).
    expected = -(math.log(5 / 26) + math.log(18 / 32) + math.log(6 / 19)) / 3
    assert loss_of("logit_adjustment", tau=1).item() == pytest.approx(expected, rel=1e-6)


def test_logit_adjustment_with_tau_0_is_cross_entropy() -> None:
    assert loss_of("logit_adjustment", tau=0).item() == pytest.approx(cross_entropy(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", nn.CrossEntropyLoss),
        ("balanced_sampler", nn.CrossEntropyLoss),
        ("class_weights", nn.CrossEntropyLoss),
        ("focal", FocalLoss),
        ("logit_adjustment", LogitAdjustedLoss),
    ],
)
def test_every_option_has_its_loss(name: str, kind: type[nn.Module]) -> None:
    config = ImbalanceConfig.model_validate({"name": name})
    assert type(build_loss(config, COUNTS)) is kind
