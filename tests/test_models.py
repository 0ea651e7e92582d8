"""Backbones, preprocessing, and pretrained weights."""

import math
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torchvision.models import resnet18

from cxr_lightning.config import ModelConfig, TrainConfig, conf_dir, parse
from cxr_lightning.errors import CheckpointError, ConfigError
from cxr_lightning.models.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    build_backbone,
    load_pretrained,
    resolve_normalisation,
)
from cxr_lightning.models.network import Network, Preprocess

MODELS = sorted(file.stem for file in (conf_dir() / "model").glob("*.yaml"))
SMALLER = {"timm": ["model.name=mobilenetv3_small_050"]}


def model_config(option: str, *overrides: str) -> ModelConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"model={option}", "name=x", "folder=/x", *overrides])
    return parse(TrainConfig, cfg).model


def network_of(model: ModelConfig, **changes: Any) -> Network:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "library": model.library,
        "name": model.name,
        "num_classes": 4,
        "image_size": 64,
        "mean": model.mean,
        "std": model.std,
        "channels_last": model.channels_last,
        "kwargs": model.kwargs,
    }
    return Network(**arguments | changes)


def images(n: int = 2, size_px: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, 1, size_px, size_px), generator=generator, dtype=torch.uint8)


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def weights_config(weights: str | None, **changes: Any) -> ModelConfig:
    values = {"name": "resnet18", "library": "torchvision", "weights": weights, **changes}
    return ModelConfig.model_validate(values)


# --- backbones -----------------------------------------------------------------------------------


def test_the_models_of_the_design_are_there() -> None:
    assert set(MODELS) >= {
        *("cnn5", "resnet18", "resnet34", "resnet50", "resnet101", "plain18", "timm")
    }


@pytest.mark.parametrize("option", MODELS)
def test_every_model_turns_grey_pixels_into_logits_with_all_its_parameters(option: str) -> None:
    network = network_of(model_config(option, *SMALLER.get(option, [])))
    logits = network(images())
    assert logits.shape == (2, 4)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])  # it looks at the image
    logits.square().sum().backward()
    # A parameter without gradient stops DDP.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_resnets_are_torchvisions() -> None:
    # ResNet-18 of torchvision's table has 11,689,512 parameters, its head of 1000 classes 513,000;
    # ours has 512 · 4 + 4 = 2,052 there.
    expected = 11_689_512 - 513_000 + 2_052
    assert n_parameters(network_of(model_config("resnet18"))) == expected == 11_178_564
    assert n_parameters(resnet18(num_classes=4)) == expected
    # 11,689,512 → 21,797,672 → 25,557,032 in the same table; the head of ResNet-50 is 2048 wide.
    assert n_parameters(network_of(model_config("resnet34"))) == 21_797_672 - 513_000 + 2_052
    resnet50 = network_of(model_config("resnet50"))
    assert n_parameters(resnet50) == 25_557_032 - (2048 + 1) * 1000 + (2048 + 1) * 4


def test_plain18_is_resnet18_without_the_projections_of_its_skip_connections() -> None:
    with_skips = network_of(model_config("resnet18")).backbone.state_dict()
    plain = network_of(model_config("plain18")).backbone.state_dict()
    expected = {k: v.shape for k, v in with_skips.items() if "downsample" not in k}
    assert {k: v.shape for k, v in plain.items()} == expected
    # 1×1 convolutions 64·128, 128·256, 256·512 and their batch norms' 2·(128 + 256 + 512)
    assert len(with_skips) > len(plain)
    difference = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert n_parameters(network_of(model_config("plain18"))) == 11_178_564 - difference


def test_a_plain_block_does_not_add_its_input() -> None:
    # With its last batch norm at scale 0, a block with a skip connection passes its input on.
    plain = network_of(model_config("plain18")).backbone.layer1[0]
    residual = network_of(model_config("resnet18")).backbone.layer1[0]
    x = torch.rand(2, 64, 8, 8)
    for block, expected in ((plain, torch.zeros_like(x)), (residual, x)):
        assert isinstance(block.bn2, nn.BatchNorm2d)
        nn.init.zeros_(block.bn2.weight)
        torch.testing.assert_close(block(x), expected)


def test_cnn5_has_five_layers_and_the_sizes_it_says() -> None:
    network = network_of(model_config("cnn5"))
    layers = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    # 1·16·9+16, 16·32·9+32, 32·64·9+64, then 64 channels of (64/8)² to 128, to 4
    assert [n_parameters(layer) for layer in layers] == [160, 4640, 18496, 524_416, 516]


def test_cnn5_pools_before_relu_what_others_pool_after_it() -> None:
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
def test_cnn5_takes_sizes_that_its_pooling_does_not_divide(size_px: int) -> None:
    network = network_of(model_config("cnn5"), image_size=size_px)
    assert network(images(1, size_px)).shape == (1, 4)


def test_any_classification_model_of_torchvision_can_be_named() -> None:
    model = model_config("resnet18", "model.name=squeezenet1_1")
    assert network_of(model)(images()).shape == (2, 4)


def test_model_kwargs_reach_the_library() -> None:
    model = model_config("timm", *SMALLER["timm"], "+model.kwargs.drop_rate=0.5")
    network = network_of(model)
    assert network.backbone.drop_rate == 0.5


@pytest.mark.parametrize("option", ["cnn5", "resnet18"])
def test_channels_last_is_a_matter_of_speed_only(option: str) -> None:
    model = model_config(option)
    first, last = network_of(model, channels_last=False), network_of(model, channels_last=True)
    weight = next(p for p in last.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    torch.testing.assert_close(first(images()), last(images()), rtol=1e-4, atol=1e-5)


def test_an_unknown_model_of_torchvision_is_a_sentence_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        build_backbone("torchvision", "resnet19", 4, 64)
    assert "torchvision has no classification model `resnet19`; it has" in str(error.value)
    assert "resnet18" in str(error.value)
    assert "fasterrcnn" not in str(error.value)  # a detector


def test_an_unknown_model_of_timm_is_a_sentence_with_close_ones() -> None:
    with pytest.raises(ConfigError, match="timm has no model `resnet19`") as error:
        build_backbone("timm", "resnet19", 4, 64)
    assert "resnet18" in str(error.value)


def test_an_unknown_model_of_ours_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"model.name=cnn6 is not ours: cnn5 or plain18"):
        build_backbone("own", "cnn6", 4, 64)


def test_without_timm_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'cxr-lightning\[timm\]'"):
        build_backbone("timm", "efficientnet_b0", 4, 64)


def test_arguments_that_a_backbone_does_not_take_are_a_sentence() -> None:
    for library, name in (("own", "cnn5"), ("torchvision", "resnet18"), ("timm", "resnet18")):
        with pytest.raises(ConfigError, match=rf"{name} does not take model.kwargs.*`?colour"):
            build_backbone(library, name, 4, 64, {"colour": 3})


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


def test_the_network_scales_by_itself() -> None:
    network = network_of(model_config("resnet18"), mean=IMAGENET_MEAN, std=IMAGENET_STD).eval()
    grey = images()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    by_hand = network.backbone((grey.float() / 255 - mean) / std)
    torch.testing.assert_close(network(grey), by_hand)
    torch.testing.assert_close(network(grey.float()), network(grey))  # still 0 to 255


def test_the_normalisation_is_part_of_the_checkpoint() -> None:
    state = network_of(model_config("resnet18"), mean=[0.5], std=[0.25]).state_dict()
    assert state["preprocess.mean"].item() == 0.5
    assert state["preprocess.std"].item() == 0.25


def test_a_mean_for_channels_that_the_network_does_not_have_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"model.mean has 3 values.* reads 1 channel"):
        network_of(model_config("cnn5"), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with pytest.raises(ConfigError, match=r"model.std has 2 values.* reads 3 channels"):
        network_of(model_config("resnet18"), mean=[0.5], std=[0.2, 0.2])


# --- pretrained weights --------------------------------------------------------------------------


def test_imagenets_normalisation_belongs_to_pretrained_weights() -> None:
    assert resolve_normalisation(weights_config(None)) == (None, None)
    assert resolve_normalisation(weights_config("DEFAULT")) == (IMAGENET_MEAN, IMAGENET_STD)
    assert resolve_normalisation(weights_config("DEFAULT", mean=[0.5])) == ([0.5], None)
    # A checkpoint of a network that reads one channel never saw ImageNet.
    own = weights_config("a.ckpt", library="own", name="cnn5")
    assert resolve_normalisation(own) == (None, None)


def test_weights_from_a_path_are_copied_but_for_a_head_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pretrained = resnet18(num_classes=1000).state_dict()
    # Batch norm statistics are 0 and 1 in a new network; pretrained ones are not.
    pretrained["bn1.running_mean"] += 0.25
    torch.save(pretrained, tmp_path / "imagenet.pth")
    backbone = network_of(model_config("resnet18")).backbone
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    load_pretrained(backbone, weights_config(str(tmp_path / "imagenet.pth")))
    after = backbone.state_dict()
    head = {"fc.weight", "fc.bias"}
    assert {k for k in after if torch.equal(after[k], pretrained[k])} == set(after) - head
    assert all(torch.equal(after[key], before[key]) for key in head)


def test_weights_from_a_checkpoint_of_ours_are_copied_with_the_head(tmp_path: Path) -> None:
    trained = network_of(model_config("cnn5"))
    nn.init.constant_(trained.backbone.head.bias, 0.125)
    state = {f"network.{key}": value for key, value in trained.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "best.ckpt")
    torch.manual_seed(2)
    fresh, _ = build_backbone("own", "cnn5", 4, 64)
    model = weights_config(str(tmp_path / "best.ckpt"), library="own", name="cnn5")
    load_pretrained(fresh, model)
    for key, value in trained.backbone.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_weights_that_do_not_fit_are_a_sentence(tmp_path: Path) -> None:
    torch.save(network_of(model_config("cnn5")).backbone.state_dict(), tmp_path / "cnn5.pth")
    backbone = network_of(model_config("resnet18")).backbone
    with pytest.raises(CheckpointError) as error:
        load_pretrained(backbone, weights_config(str(tmp_path / "cnn5.pth")))
    # 20 convolutions, 20 batch norms of 5 tensors, and the head's 2 are 122.
    assert f"{tmp_path / 'cnn5.pth'} does not fit resnet18: 122 of 122 tensors" in str(error.value)


def test_weights_that_fit_all_but_a_hidden_layer_are_refused(tmp_path: Path) -> None:
    # A cnn5 for images of another size: left random, its largest layer would pass unnoticed.
    torch.save(build_backbone("own", "cnn5", 4, 32)[0].state_dict(), tmp_path / "32px.pth")
    model = weights_config(str(tmp_path / "32px.pth"), library="own", name="cnn5")
    with pytest.raises(CheckpointError, match=r"does not fit cnn5: 1 of 10.*hidden\.weight"):
        load_pretrained(build_backbone("own", "cnn5", 4, 64)[0], model)


def test_weights_from_a_file_that_holds_none_are_a_sentence(tmp_path: Path) -> None:
    backbone = network_of(model_config("cnn5")).backbone
    (tmp_path / "notes.txt").write_text("no weights here")
    with pytest.raises(CheckpointError, match=r"model.weights=.*notes.txt cannot be read"):
        load_pretrained(backbone, weights_config(str(tmp_path / "notes.txt")))
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(CheckpointError, match=r"model.weights=.*tensor.pth .*no state dict"):
        load_pretrained(backbone, weights_config(str(tmp_path / "tensor.pth")))
    with pytest.raises(CheckpointError, match=r"model.weights=.*/absent.pth: no such file"):
        load_pretrained(backbone, weights_config(str(tmp_path / "absent.pth")))


def test_weights_that_would_run_code_are_not_read(tmp_path: Path) -> None:
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "pickled_module.pth")  # needs unpickling
    backbone = network_of(model_config("cnn5")).backbone
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_pretrained(backbone, weights_config(str(tmp_path / "pickled_module.pth")))


def test_a_home_folder_in_the_path_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    backbone = network_of(model_config("cnn5")).backbone
    state = {key: torch.full_like(value, 0.5) for key, value in backbone.state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    load_pretrained(backbone, weights_config("~/half.pth", library="own", name="cnn5"))
    assert all((p == 0.5).all() for p in backbone.parameters())


def test_without_network_the_sentence_names_the_file_to_fetch_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where no earlier download lies
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(CheckpointError) as error:
        load_pretrained(network_of(model_config("resnet18")).backbone, weights_config("DEFAULT"))
    sentence = str(error.value)
    assert "The weights of resnet18 could not be downloaded" in sentence
    assert "Name or service not known" in sentence
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in sentence
    assert f"{tmp_path}/hub/checkpoints/" in sentence
    assert "model.weights=/path/to/file.pth" in sentence


def test_a_downloaded_file_is_taken_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the sentence above advises must work: the file placed in the folder it names.
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    pretrained = resnet18(num_classes=1000).state_dict()
    torch.save(pretrained, folder / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", None)
    backbone = network_of(model_config("resnet18")).backbone
    load_pretrained(backbone, weights_config("DEFAULT"))
    assert torch.equal(backbone.state_dict()["conv1.weight"], pretrained["conv1.weight"])


def test_timm_without_network_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    model = weights_config("DEFAULT", library="timm")
    with pytest.raises(CheckpointError, match=r"timm could not fetch .*resnet18 \(We couldn't con"):
        load_pretrained(nn.Linear(2, 2), model)


def test_our_own_networks_have_no_default_weights() -> None:
    model = weights_config("DEFAULT", library="own", name="cnn5")
    with pytest.raises(ConfigError, match=r"cnn5 has no pretrained weights; set model.weights"):
        load_pretrained(network_of(model_config("cnn5")).backbone, model)


def test_a_new_network_starts_near_the_loss_of_guessing() -> None:
    # Four classes guessed with 1/4 each cost ln 4 = 1.386; a wrong scale of the pixels (0 to 255)
    # would start far above.
    labels = torch.arange(4)
    for option in ("cnn5", "resnet18", "plain18"):
        logits = network_of(model_config(option))(images(4))
        loss = nn.functional.cross_entropy(logits, labels).item()
        assert loss == pytest.approx(math.log(4), abs=0.4), option
