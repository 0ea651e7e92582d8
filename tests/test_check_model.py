"""What a network returns fits what is asked for: the one forward pass before a run."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from cxr_lightning.assemble import check_model
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.models.network import filled_in

Composed = Callable[..., DictConfig]

MY_NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, width=8):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(in_channels, width, 3), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

class DictNet(Net):
    def forward(self, x):
        return {"logits": super().forward(x)}

class SevenNet(Net):
    def __init__(self, num_classes, in_channels):
        super().__init__(7, in_channels)

class IntegerNet(Net):
    def forward(self, x):
        return super().forward(x).long()

class Headless(nn.Module):
    def __init__(self, width=3):
        super().__init__()
"""


@pytest.fixture
def my_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module `my_nets`, and one that cannot be imported."""
    (tmp_path / "my_nets.py").write_text(MY_NETS, encoding="utf-8")
    (tmp_path / "broken_nets.py").write_text("import no_such_library", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)


def check(composed: Composed, *overrides: str) -> None:
    small = ["data=kaggle", "data.image_size=64", *overrides]
    check_model(parse(TrainConfig, composed("train", *small)))


def test_the_framework_fills_in_what_a_target_names(my_nets: None) -> None:
    def given(target: str, **node: Any) -> dict[str, Any]:
        return filled_in({"_target_": target, **node}, 4, 64, 1)

    assert given("torchvision.models.resnet18") == {"num_classes": 4}
    assert given("timm.create_model") == {"num_classes": 4, "in_chans": 1}
    assert given("my_nets.Net") == {"num_classes": 4, "in_channels": 1}
    cnn5 = given("cxr_lightning.models.backbones.CNN5")
    assert cnn5 == {"num_classes": 4, "image_size": 64, "in_channels": 1}
    assert given("my_nets.Net", in_channels=2) == {"num_classes": 4}  # what is said stays


@pytest.mark.parametrize(
    "overrides",
    [
        "model=cnn5",
        "model=torchvision model.network.name=squeezenet1_1",
        "model=torchvision model.network.name=googlenet +model.network.aux_logits=false",
        "model=torchvision model.network.name=vit_b_16 +model.network.image_size=64",
        "model=timm model.network.model_name=vit_tiny_patch16_224 +model.network.img_size=64",
        "model=timm model.network.model_name=mobilenetv3_small_050 model.channels=1",
        "model=resnet18 model.network._target_=my_nets.Net +model.network.width=4 model.channels=2",
    ],
)
def test_what_works_passes_and_leaves_the_random_state_alone(
    overrides: str, composed: Composed, my_nets: None
) -> None:
    before = torch.get_rng_state(), random.getstate()
    check(composed, *overrides.split())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


IN_TRAINING = "must return float logits of shape (2, 4) for two images; in training it returns a"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            "model=torchvision model.network.name=googlenet",
            f"googlenet {IN_TRAINING} GoogLeNetOutputs. Set +model.network.aux_logits=false.",
        ),
        (  # its helper needs more than 224 px
            "model=torchvision model.network.name=inception_v3 data.image_size=224",
            "actual input size. Set +model.network.aux_logits=false.",
        ),
        (
            "model=torchvision model.network.name=vit_b_16",
            "vit_b_16 cannot process a batch of shape (2, 3, 64, 64): Wrong image height! Expected "
            "224 but got 64. Set data.image_size=224, or +model.network.image_size=… where",
        ),
        (
            "model=timm model.network.model_name=vit_tiny_patch16_224",
            "Input height (64) doesn't match model (224). Set data.image_size=224, or "
            "+model.network.img_size=…",
        ),
        (
            "model=resnet18 model.channels=1",
            "but got 1 channels instead. Set model.channels to the number that the network reads.",
        ),
        (
            "model.network._target_=my_nets.DictNet",
            f"{IN_TRAINING} dict. Its forward must return the logits alone.",
        ),
        ("model.network._target_=my_nets.SevenNet", "it returns torch.float32 of shape (2, 7)."),
        ("model.network._target_=my_nets.IntegerNet", "it returns torch.int64 of shape (2, 4)."),
        (
            "model.network._target_=my_nets.Headless",
            "a network must take the argument num_classes, the number of its logits; this one "
            "takes width.",
        ),
        (
            "model.network._target_=my_nets.Nett",
            "`my_nets.Nett` cannot be built: my_nets has no `Nett`; did you mean `Net`?",
        ),
        (
            "model.network._target_=their_nets.Net",
            "there is no module `their_nets`. Is it installed, or in this folder?",
        ),
        (
            "model.network._target_=broken_nets.Net",
            "importing it fails with ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("model.network._target_=os.sep", "`os.sep` cannot be built: Expected a callable"),
        ("model.network._target_=builtins.dict", "builds a dict, not a torch.nn.Module."),
        ("~model.network._target_", "A node without `_target_` cannot be built"),
        ("model=resnet18 +model.network.colour=3", "unexpected keyword argument 'colour'"),
        ("+model.network.colour=3", "`cxr_lightning.models.backbones.CNN5` cannot be built"),
        (
            "model=torchvision model.network.name=resnet19",
            "torchvision has no classification model `resnet19`; did you mean `resnet18`?",
        ),
        (
            "model=torchvision model.network.name=fasterrcnn_resnet50_fpn",  # a detector
            "torchvision has no classification model `fasterrcnn_resnet50_fpn`",
        ),
        (
            "model=timm model.network.model_name=resnet19",
            "timm has no classification model `resnet19`; did you mean `resnet18`?",
        ),
        (
            "model=timm +model.network.pretrained=true",
            "Set model.weights=DEFAULT, or a path, instead of model.network.pretrained",
        ),
        (
            "imbalance.loss._target_=torch.nn.CrossEntropyLos",
            "torch.nn has no `CrossEntropyLos`; did you mean `CrossEntropyLoss`?",
        ),
    ],
)
def test_what_does_not_work_is_a_sentence_with_the_remedy(
    overrides: str, sentence: str, composed: Composed, my_nets: None
) -> None:
    with pytest.raises(ConfigError) as error:
        check(composed, *overrides.split())
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_without_timm_the_sentence_says_how_to_get_it(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        def find_spec(self, name: str, *others: Any) -> None:
            if name == "timm":
                raise ModuleNotFoundError("No module named 'timm'", name=name)

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'cxr-lightning\[timm\]'"):
        check(composed, "model=timm")
