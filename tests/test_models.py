"""Backbones and preprocessing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from cxr_lightning.config import ModelConfig, TrainConfig, conf_dir, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.network import Network, Preprocess

Composed = Callable[..., DictConfig]
ModelOf = Callable[..., ModelConfig]

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MODELS = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
SMALLER = {
    "timm": ["model.network.model_name=mobilenetv3_small_050"],
    "torchvision": ["model.network.name=squeezenet1_1"],
}


@pytest.fixture
def model_config(composed: Composed) -> ModelOf:
    return lambda option, *more: (
        parse(TrainConfig, composed("train", f"model={option}", *more)).model
    )


def network_of(model: ModelConfig, **changes: Any) -> Network:
    torch.manual_seed(0)
    keys = {"channels", "mean", "std", "channels_last"}
    arguments: dict[str, Any] = {"node": model.network, "num_classes": 4, "image_size": 64}
    return Network(**arguments | model.model_dump(include=keys) | changes)


def images(n: int = 2, size_px: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, 1, size_px, size_px), generator=generator, dtype=torch.uint8)


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- backbones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", MODELS)
def test_every_model_turns_grey_pixels_into_logits_with_all_its_parameters(
    option: str, model_config: ModelOf
) -> None:
    network = network_of(model_config(option, *SMALLER.get(option, [])))
    logits = network(images())
    assert logits.shape == (2, 4)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])  # it looks at the image
    logits.square().sum().backward()
    # A parameter without gradient stops DDP.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_resnets_are_torchvisions(model_config: ModelOf) -> None:
    with torch.device("meta"):  # shapes without values
        n = {
            f"resnet{k}": n_parameters(network_of(model_config(f"resnet{k}"))) for k in (18, 34, 50)
        }
    # ResNet-18 of torchvision's table has 11,689,512 parameters, its head of 1000 classes 513,000;
    # ours has 512 · 4 + 4 = 2,052 there. 21,797,672 and 25,557,032 in the same table; the head of
    # ResNet-50 is 2048 wide.
    assert n == {
        "resnet18": 11_689_512 - 513_000 + 2_052,
        "resnet34": 21_797_672 - 513_000 + 2_052,
        "resnet50": 25_557_032 - (2048 + 1) * 1000 + (2048 + 1) * 4,
    }


def test_plain18_is_resnet18_without_the_projections_of_its_skip_connections(
    model_config: ModelOf,
) -> None:
    with torch.device("meta"):
        with_skips = network_of(model_config("resnet18")).backbone.state_dict()
        network = network_of(model_config("plain18"))
    expected = {k: v.shape for k, v in with_skips.items() if "downsample" not in k}
    assert {k: v.shape for k, v in network.backbone.state_dict().items()} == expected
    # 1×1 convolutions 64·128, 128·256, 256·512 and their batch norms' 2·(128 + 256 + 512)
    difference = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert n_parameters(network) == 11_178_564 - difference


def test_a_plain_block_does_not_add_its_input(model_config: ModelOf) -> None:
    # With its last batch norm at scale 0, a block with a skip connection passes its input on.
    plain = network_of(model_config("plain18")).backbone.layer1[0]
    residual = network_of(model_config("resnet18")).backbone.layer1[0]
    x = torch.rand(2, 64, 8, 8)
    for block, expected in ((plain, torch.zeros_like(x)), (residual, x)):
        assert isinstance(block.bn2, nn.BatchNorm2d)
        nn.init.zeros_(block.bn2.weight)
        torch.testing.assert_close(block(x), expected)


def test_cnn5_has_five_layers_and_the_sizes_it_says(model_config: ModelOf) -> None:
    network = network_of(model_config("cnn5"))
    layers = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    # 1·16·9+16, 16·32·9+32, 32·64·9+64, then 64 channels of (64/8)² to 128, to 4
    assert [n_parameters(layer) for layer in layers] == [160, 4640, 18496, 524_416, 516]


@pytest.mark.parametrize("size_px", [64, 256])
def test_cnn5_bn_has_the_same_size_for_every_image_size(
    size_px: int, model_config: ModelOf
) -> None:
    network = network_of(model_config("cnn5_bn"), image_size=size_px)
    layers = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    # 1·16·9, 16·32·9, 32·64·9 without biases, then 64 channels of 4² cells to 128, to 4
    assert [n_parameters(layer) for layer in layers] == [144, 4608, 18432, 131_200, 516]
    norms = [m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [16, 32, 64]


def test_cnn5_bn_normalises_pools_and_takes_the_mean_of_each_cell(model_config: ModelOf) -> None:
    backbone = network_of(model_config("cnn5_bn", "model.network.grid=2")).backbone
    assert isinstance(backbone.features, nn.Sequential)
    x = images().float() / 255
    expected = x
    for convolution in [m for m in backbone.features if isinstance(m, nn.Conv2d)]:
        maps = convolution(expected)
        mean, var = maps.mean((0, 2, 3), True), maps.var((0, 2, 3), keepdim=True, unbiased=False)
        normalised = (maps - mean) / (var + 1e-5).sqrt()  # scale 1 and shift 0 at the start
        expected = nn.functional.max_pool2d(torch.relu(normalised), 2)
    # 64×64 pixels are 8×8 after three times pooling: four cells of 4×4.
    cells = expected.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    assert cells.shape == (2, 64, 2, 2)
    torch.testing.assert_close(backbone.features(x), cells, atol=1e-5, rtol=1e-4)


def test_cnn5_pools_before_relu_what_others_pool_after_it(model_config: ModelOf) -> None:
    backbone = network_of(model_config("cnn5")).backbone
    assert isinstance(backbone.features, nn.Sequential)
    convolutions = [m for m in backbone.features if isinstance(m, nn.Conv2d)]
    x = images().float() / 255
    expected = x
    for convolution in convolutions:
        expected = nn.functional.max_pool2d(torch.relu(convolution(expected)), 2)
    assert torch.equal(backbone.features(x), expected)
    assert (expected == 0).any()


@pytest.mark.parametrize("size_px", [16, 30, 100])
def test_cnn5_takes_sizes_that_its_pooling_does_not_divide(
    size_px: int, model_config: ModelOf
) -> None:
    network = network_of(model_config("cnn5"), image_size=size_px)
    assert network(images(1, size_px)).shape == (1, 4)


@pytest.mark.parametrize("option", ["cnn5", "resnet18"])
def test_channels_last_is_a_matter_of_speed_only(option: str, model_config: ModelOf) -> None:
    model = model_config(option)
    first, last = network_of(model, channels_last=False), network_of(model, channels_last=True)
    weight = next(p for p in last.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    torch.testing.assert_close(first(images()), last(images()), rtol=1e-4, atol=1e-5)


# --- preprocessing -------------------------------------------------------------------------------


def pixels(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, 1, -1)


def test_preprocessing_divides_by_255() -> None:
    expected = torch.tensor([0, 51 / 255, 1.0]).view(1, 1, 1, 3)  # 51 / 255 = .2
    torch.testing.assert_close(Preprocess(1)(pixels(0, 51, 255)), expected)


def test_preprocessing_normalises_and_gives_every_channel_the_same_image() -> None:
    # (0 - .2) / .4 = -.5, (.2 - .2) / .4 = 0, (1 - .2) / .4 = 2
    row = torch.tensor([-0.5, 0.0, 2.0])
    result = Preprocess(3, [0.2], [0.4])(pixels(0, 51, 255))
    torch.testing.assert_close(result, row.expand(1, 3, 1, 3))


def test_preprocessing_normalises_each_channel_with_its_own_values() -> None:
    # (.2 - .485) / .229, (.2 - .456) / .224, (.2 - .406) / .225
    expected = torch.tensor([-1.244541, -1.142857, -0.915556]).view(1, 3, 1, 1)
    result = Preprocess(3, IMAGENET_MEAN, IMAGENET_STD)(pixels(51))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_the_network_scales_by_itself(model_config: ModelOf) -> None:
    network = network_of(model_config("resnet18"), mean=IMAGENET_MEAN, std=IMAGENET_STD).eval()
    grey = images()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    by_hand = network.backbone((grey.float() / 255 - mean) / std)
    torch.testing.assert_close(network(grey), by_hand)
    torch.testing.assert_close(network(grey.float()), network(grey))  # still 0 to 255


def test_the_normalisation_is_part_of_the_checkpoint(model_config: ModelOf) -> None:
    state = network_of(model_config("resnet18"), mean=[0.5], std=[0.25]).state_dict()
    assert state["preprocess.mean"].item() == 0.5
    assert state["preprocess.std"].item() == 0.25


def test_a_mean_for_channels_that_the_network_does_not_have_is_a_sentence(
    model_config: ModelOf,
) -> None:
    with pytest.raises(ConfigError, match=r"model.mean has 3 values.* reads 1 channel"):
        network_of(model_config("cnn5"), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with pytest.raises(ConfigError, match=r"model.std has 2 values.* reads 3 channels"):
        network_of(model_config("resnet18"), mean=[0.5], std=[0.2, 0.2])


# --- a new model ----------------------------------------------------------------------------------


def test_the_names_in_tables_follow_from_the_network(
    composed: Composed, model_config: ModelOf
) -> None:
    named = [
        model_config("torchvision", "model.network.name=vit_b_16"),
        model_config("timm"),
        model_config("cnn5", "~model.name", "model.network._target_=my_nets.Net"),
        model_config("resnet18", "model.name=mine"),
    ]
    assert [model.name for model in named] == ["vit_b_16", "efficientnet_b0", "Net", "mine"]
    unnamed = parse(TrainConfig, composed("train", "imbalance=focal", "~imbalance.name"))
    assert unnamed.imbalance.name == "FocalLoss"


def test_a_new_network_starts_near_the_loss_of_guessing(model_config: ModelOf) -> None:
    # Four classes guessed with 1/4 each cost ln 4 = 1.386; a wrong scale of the pixels (0 to 255)
    # would start far above.
    labels = torch.arange(4)
    for option in ("cnn5", "cnn5_bn", "resnet18", "plain18"):
        logits = network_of(model_config(option))(images(4))
        loss = nn.functional.cross_entropy(logits, labels).item()
        assert loss == pytest.approx(math.log(4), abs=0.4), option
