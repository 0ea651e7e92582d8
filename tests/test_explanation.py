"""Grad-CAM: by hand, for every network, and that it looks at what was learnt."""

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy.stats import spearmanr
from small_classifiers import LABELS, images
from torch import Tensor, nn

from cxr_lightning import explanation
from cxr_lightning.config import TrainConfig, conf_dir, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.explanation import (
    attention,
    correlation_when_randomised,
    heatmaps,
    map_layer,
    mean_share,
    overlay,
    randomised,
    rank_correlation,
    share_in_center,
    uniform_share,
)
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.ensemble import Ensemble, Shifted, Tempered, Views
from cxr_lightning.models.network import Network

Composed = Callable[..., DictConfig]

MODELS = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
SMALLER = {
    "timm": ["model.network.model_name=mobilenetv3_small_050"],
    "torchvision": ["model.network.name=squeezenet1_1"],
}


def network(target: str, size_px: int = 64, channels: int = 1, **more: Any) -> Network:
    torch.manual_seed(5)
    node = {"_target_": target, **more}
    return Network(node=node, num_classes=2, image_size=size_px, channels=channels).eval()


def linear() -> Network:
    return network("small_networks.LinearNet", 2)


def noise(n: int, size_px: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, 1, size_px, size_px), generator=generator, dtype=torch.uint8)


def n_hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._backward_hooks) for m in module.modules())


def test_the_map_of_a_linear_network_is_what_the_paper_says() -> None:
    # Pixels 0, 51, 102, 255 are x = 0, .2, .4, 1. The maps are A1 = x and A2 = -2x. A logit is
    # w1 · mean(A1) + w2 · mean(A2), so each point of a map has the gradient w / 4, also their mean.
    # Class 0: relu(3/4 · x + 1/4 · (-2x)) = x / 4. Class 1: relu(-1/4 · x - 2/4 · (-2x)) = 3x / 4.
    # Scaled to a largest value of 1, both are x.
    film = torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8)[None, None]
    raw = explanation._maps(linear(), film.expand(2, -1, -1, -1), torch.tensor([0, 1]))
    x = torch.tensor([[0, 0.2], [0.4, 1.0]])
    torch.testing.assert_close(raw, torch.stack([x / 4, 3 * x / 4]))
    heat = heatmaps(linear(), film.expand(2, -1, -1, -1), torch.tensor([0, 1]))
    torch.testing.assert_close(heat, torch.stack([x, x]))


def test_what_speaks_against_a_class_has_no_heat() -> None:
    of_one_class = linear()
    with torch.no_grad():
        of_one_class.backbone.head.weight[0] = torch.tensor([1.0, 1.0])  # type: ignore[index, union-attr]
    # relu(1/4 · x + 1/4 · (-2x)) = relu(-x / 4) = 0
    heat = heatmaps(of_one_class, noise(1, 2), torch.tensor([0]))
    assert heat.tolist() == [[[0, 0], [0, 0]]]
    assert share_in_center(heat).isnan().all()


@pytest.mark.parametrize("option", MODELS)
def test_every_model_has_maps_of_the_images_size(option: str, composed: Composed) -> None:
    given = composed("train", f"model={option}", *SMALLER.get(option, []))
    model = parse(TrainConfig, given).model
    torch.manual_seed(0)
    keys = {"channels", "mean", "std", "channels_last"}
    net = Network(
        node=model.network, num_classes=4, image_size=96, **model.model_dump(include=keys)
    )
    before = {name: value.clone() for name, value in net.state_dict().items()}
    films, random_state = noise(3, 96), torch.get_rng_state()
    heat = torch.cat([heatmaps(net, films, torch.full((3,), k)) for k in range(4)])
    assert heat.shape == (12, 96, 96)
    assert heat.dtype == torch.float32
    assert heat.min() >= 0
    largest = heat.amax(dim=(1, 2))
    assert set(largest.round(decimals=5).tolist()) <= {0.0, 1.0}
    assert (largest > 0).any()
    # The network is as it was: its mode, weights and statistics, without hooks or gradients.
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert n_hooks(net) == 0
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_last_maps_before_adaptive_pooling_are_explained() -> None:
    backbones = "cxr_lightning.models.backbones"
    film = noise(1, 64)
    pooled = network(f"{backbones}.CNN5BN", grid=4)
    assert explanation._maps(pooled, film, torch.tensor([0])).shape == (1, 8, 8)  # not 4×4
    plain = network(f"{backbones}.Plain18", channels=3)
    assert map_layer(plain, film) == "backbone.layer4"


@pytest.mark.parametrize(
    ("target", "more", "sentence"),
    [
        ("torchvision.models.get_model", {"name": "vit_b_32"}, "VisionTransformer works on tokens"),
        ("small_networks.Perceptron", {}, "Perceptron has no feature maps of a convolution"),
    ],
)
def test_without_feature_maps_there_is_a_sentence(
    target: str, more: dict[str, Any], sentence: str
) -> None:
    channels = 3 if more else 1
    if more:
        more = {**more, "image_size": 64}
    with pytest.raises(ConfigError, match=f"No heatmaps: {sentence}"):
        heatmaps(network(target, channels=channels, **more), noise(1, 64), torch.tensor([0]))


def test_a_transformer_of_timm_with_channels_last_is_refused() -> None:
    pytest.importorskip("timm")
    node = {"model_name": "swin_tiny_patch4_window7_224", "img_size": 64, "window_size": 2}
    with pytest.raises(ConfigError, match="works on tokens"):
        map_layer(network("timm.create_model", channels=3, **node), noise(1, 64))


def test_frozen_weights_are_explained_inside_inference_mode() -> None:
    net = network("cxr_lightning.models.backbones.Plain18", channels=3)
    expected = heatmaps(net, noise(2, 64), torch.tensor([0, 1]))
    net.requires_grad_(False)
    with torch.inference_mode():
        found = heatmaps(net, noise(2, 64), torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def test_a_batch_gives_what_its_images_give_alone() -> None:
    net = network("cxr_lightning.models.backbones.Plain18", channels=3)
    films, classes = noise(18, 64), torch.arange(18) % 2  # more than are computed at once
    alone = [heatmaps(net, films[i : i + 1], classes[i : i + 1]) for i in range(18)]
    torch.testing.assert_close(heatmaps(net, films, classes), torch.cat(alone), atol=1e-4, rtol=0)


def test_calibration_and_shifts_change_no_map_and_an_ensemble_is_the_mean() -> None:
    one, other = (network("cxr_lightning.models.backbones.CNN5BN", grid=4) for _ in range(2))
    for weights in other.parameters():
        weights.data.mul_(-1)
    films, classes = noise(4, 64), torch.tensor([0, 1, 0, 1])
    a, b = heatmaps(one, films, classes), heatmaps(other, films, classes)
    for wrapped in (Tempered(one, 3.0), Shifted(one, [0.5, 0.0]), Views(one, "flip_zoom")):
        torch.testing.assert_close(heatmaps(wrapped, films, classes), a)
    both = (a + b) / 2
    largest = both.amax(dim=(1, 2), keepdim=True)
    expected = both / torch.where(largest > 0, largest, 1)
    found = heatmaps(Ensemble([Tempered(one, 2.0), other]), films, classes)
    torch.testing.assert_close(found, expected)


def test_nothing_is_kept_in_memory() -> None:
    net = network("cxr_lightning.models.backbones.CNN5BN", grid=4)
    kept: list[weakref.ref[Tensor]] = []
    handle = net.backbone.features[0].register_forward_hook(  # type: ignore[index, union-attr]
        lambda _, __, output: kept.append(weakref.ref(output))
    )
    for _ in range(3):
        heatmaps(net, noise(2, 64), torch.tensor([0, 1]))
    handle.remove()
    gc.collect()
    assert len(kept) == 6  # each time once to find the layer, once to explain
    assert all(reference() is None for reference in kept)


# --- shares, and their interval ------------------------------------------------------------------


def test_the_share_in_the_center() -> None:
    # Of 10×10 points the central field of 80% has 8×8. A uniform map: 64 of 100.
    heat = torch.ones(3, 10, 10)
    heat[1] = 0
    heat[1, 0, 0] = 1  # a corner
    heat[2] = 0
    heat[2, 1, 1], heat[2, 0, 5] = 3, 1  # 3 of 4 inside
    torch.testing.assert_close(share_in_center(heat), torch.tensor([0.64, 0.0, 0.75]))
    assert uniform_share(10) == pytest.approx(0.64)
    assert share_in_center(torch.ones(1, 10, 10), field=0.4).item() == pytest.approx(0.16)
    # 256 px: a margin of 25.6 is rounded to 26, as the field that is measured
    assert uniform_share(256) == pytest.approx(share_in_center(torch.ones(1, 256, 256)).item())


def test_the_mean_share_has_an_interval_by_patient() -> None:
    shares = np.array([0.2, 0.4, np.nan] * 20)
    alone = mean_share(shares, [str(i) for i in range(60)])
    assert alone.value == pytest.approx(0.3)
    assert alone.n == 40
    # The standard deviation of a mean of 40 that are .2 or .4 is .1 / √40 = .0158; times 1.96
    assert alone.low == pytest.approx(0.3 - 0.031, abs=0.003)
    assert alone.high == pytest.approx(0.3 + 0.031, abs=0.003)
    # Ten patients of four films that are alike are ten values: .1 / √10 · 1.96 = .062
    twice = mean_share(np.repeat([0.2, 0.4], 20), [str(i // 4) for i in range(40)])
    assert twice.low == pytest.approx(0.3 - 0.062, abs=0.006)
    few = mean_share(shares, [str(i // 9) for i in range(60)])
    assert (few.low, few.method) == (None, "not estimable: fewer than 10 patients")
    assert mean_share(np.array([np.nan]), ["a"]).value is None


def test_an_overlay_leaves_what_has_no_heat() -> None:
    film = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    heat = np.array([[0, 0], [0, 1]], dtype=np.float32)
    drawn = overlay(film, heat)
    assert drawn.dtype == np.uint8
    assert drawn[0].tolist() == [[0, 0, 0], [100, 100, 100]]
    # plasma ends at (.940, .975, .131): 255 · (.4 · 1 + .6 · that) = 246, 251, 122
    assert drawn[1, 1].tolist() == [246, 251, 122]


# --- do the maps depend on what was learnt? ------------------------------------------------------


def test_the_rank_correlation_is_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 5, 5, generator=generator)
    a[0] = (a[0] - 0.5).relu()  # ties
    a[2] = 0
    found = rank_correlation(a, b)
    for i in range(2):
        assert found[i].item() == pytest.approx(spearmanr(a[i].ravel(), b[i].ravel()).statistic)
    assert found[2].isnan()


def test_random_weights_leave_the_network_and_the_random_numbers_alone() -> None:
    net = network("torchvision.models.get_model", channels=3, name="convnext_tiny")
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    fresh = randomised(net)
    assert torch.equal(torch.get_rng_state(), state)
    after = fresh.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    weights = [name for name in before if name.endswith("weight") and before[name].ndim > 1]
    assert all(not torch.equal(after[name], before[name]) for name in weights)
    assert torch.equal(after["preprocess.mean"], before["preprocess.mean"])


def test_maps_change_with_the_weights_unless_these_do_not_count() -> None:
    films, classes = noise(24, 64), torch.arange(24) % 2
    net = network("cxr_lightning.models.backbones.CNN5BN", grid=4)
    found = correlation_when_randomised(net, films, classes)
    assert found.isnan().sum() < 8  # maps without heat
    assert abs(found.nanmean().item()) < 0.5
    unlearnt = correlation_when_randomised(network("small_networks.Unlearnt"), films, classes)
    torch.testing.assert_close(unlearnt, torch.ones(24, dtype=torch.float64))


def test_attention_tells_all_in_one_table(classifier: Callable[..., Classifier]) -> None:
    net = classifier()
    groups = [str(i) for i in range(len(LABELS))]
    found = attention(net, images(), LABELS, groups, n_resamples=200)
    json.dumps(found, allow_nan=False)
    shares = share_in_center(heatmaps(net, images(), LABELS))
    assert found["images"] == len(LABELS)
    assert found["empty_maps"] == int(shares.isnan().sum())
    assert found["layers"] == ["backbone.features"]
    assert found["map_sides"] == [2]  # 16 px, three times halved
    assert found["center"]["value"] == pytest.approx(shares.nanmean().item())
    assert found["center"]["uniform_share"] == pytest.approx((12 / 16) ** 2)  # margins of 2 px
    correlation = found["randomised_weights"]["rank_correlation"]
    assert correlation is None or -1 <= correlation <= 1
