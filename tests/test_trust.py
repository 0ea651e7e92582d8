"""A checkpoint is data: hostile ones are refused before anything in them is imported or called."""

import copy
import sys
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from small_classifiers import CLASSES, SIZE_PX, images, loader, trainer

from cxr_lightning.assemble import check_model
from cxr_lightning.config import EvaluateConfig, PredictConfig, TrainConfig, conf_dir, parse
from cxr_lightning.errors import CheckpointError, CxrError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.trained import load_classifier
from cxr_lightning.trust import check_node

MARK = "was_here"
LOSS = {"_target_": "torch.nn.CrossEntropyLoss"}
HARMFUL = f'''
from os import system
from pathlib import Path
from torch import nn

Path("{MARK}").touch()  # importing is enough

class Net(nn.Module):
    def __init__(self, num_classes, **more):
        super().__init__()
        self.fc = nn.Linear({SIZE_PX**2}, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))

class Loss(nn.CrossEntropyLoss):
    pass
'''


@pytest.fixture
def saved(classifier: Callable[..., Classifier], tmp_path: Path) -> Callable[..., Path]:
    """`saved("network.node._target_", "os.system")`: a checkpoint with one value changed."""

    def save(path: str = "", value: Any = None) -> Path:
        model = classifier()
        checkpoint: dict[str, Any] = {
            "state_dict": model.state_dict(),
            "hyper_parameters": copy.deepcopy(dict(model.hparams)),
        }
        if path:
            *sections, last = path.split(".")
            place = checkpoint["hyper_parameters"]
            for section in sections:
                place = place[section]
            place[last] = value
        torch.save(checkpoint, tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    return save


@pytest.fixture
def harmful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `harmful_nets` in the working directory; the file that any run of it leaves."""
    (tmp_path / "harmful_nets.py").write_text(HARMFUL, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "harmful_nets", raising=False)
    return tmp_path / MARK


TOUCH = {"_target_": "os.system", "command": f"touch {MARK}"}
HOSTILE = [
    # another target: out of the list, or reached through what an allowed module has imported
    TOUCH,
    {"_target_": "builtins.exec", "_args_": [f"open('{MARK}', 'w')"]},
    {"_target_": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"},
    {"_target_": "torch.nn.modules.utils.torch.hub.load", "repo_or_dir": "a/b", "model": "c"},
    {"_target_": "torch.nn.modules.module.os.system", "command": f"touch {MARK}"},
    {"_target_": "torch.nn.init.torch.load", "f": "a.pt"},
    {"_target_": "torch.nn.modules.module.torch", "a": 1},
    {"_target_": "torchvision.models._api.importlib.import_module", "name": "harmful_nets"},
    {"_target_": "torchvision.models._api.load_state_dict_from_url", "url": "https://example.org"},
    {"_target_": "torchvision.models.get_model_weights", "name": "resnet18"},
    {"_target_": "torchvision.models.detection.fasterrcnn_resnet50_fpn"},
    {"_target_": "torchvision.models.get_model", "name": "fasterrcnn_resnet50_fpn"},
    {"_target_": "torchvision.models.get_model"},
    {"_target_": "cxr_lightning.models.weights.Path", "_args_": [MARK]},
    {"_target_": "cxr_lightning.models.losses.build", "node": TOUCH},
    {"_target_": "cxr_lightning.models.losses.build_loss", "class_counts": [1, 1]},
    {"_target_": "torch.nn.functional.linear"},
    {"_target_": "timm.models.create_model", "model_name": "resnet18"},
    {"_target_": "harmful_nets.Net"},
    {"_target_": "torch.nnn.Linear"},
    # arguments out of the list
    {"_target_": "timm.create_model", "model_name": "resnet18", "checkpoint_path": "a.pth"},
    {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": True},
    {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained_cfg": {"file": "a"}},
    {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained_cfg_overlay": {}},
    {"_target_": "timm.create_model", "model_name": "resnet18", "cache_dir": "/"},
    {"_target_": "timm.create_model", "model_name": "hf-hub:someone/something"},
    {"_target_": "timm.create_model", "model_name": "local-dir:here"},
    {"_target_": "timm.create_model", "model_name": "someone/something"},
    {"_target_": "timm.create_model", "model_name": ["resnet18"]},
    {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"},
    {"_target_": "torchvision.models.get_model", "name": "resnet18", "weights_backbone": "DEFAULT"},
    {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 3, "colour": 3},
    # Hydra's own words
    {"_target_": "torch.nn.CrossEntropyLoss", "_partial_": True},
    {"_target_": "torch.nn.CrossEntropyLoss", "_args_": [1]},
    {"_target_": "torch.nn.CrossEntropyLoss", "_recursive_": False},
    {"_target_": "torch.nn.CrossEntropyLoss", "_convert_": "none"},
    # nodes within nodes, and in a text
    {"_target_": "torch.nn.CrossEntropyLoss", "weight": TOUCH},
    {"_target_": "torch.nn.CrossEntropyLoss", "weight": [TOUCH]},
    {"_target_": "torch.nn.CrossEntropyLoss", "weight": {"deep": [TOUCH]}},
    {"_target_": "torch.nn.CrossEntropyLoss", "reduction": f"${{oc.create:{TOUCH}}}"},
    {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "${oc.env:HOME}"},
    {"_target_": "torch.nn.CrossEntropyLoss", "weight": torch.ones(3)},
    {"_target_": TOUCH},
    {"_target_": ["os", "system"]},
    {},
    "os.system",
    None,
]


@pytest.mark.parametrize("node", HOSTILE, ids=lambda node: str(node)[:70])
@pytest.mark.parametrize("field", ["network.node", "imbalance.loss"])
def test_a_hostile_node_is_refused_and_nothing_of_it_runs(
    field: str, node: Any, saved: Callable[..., Path], harmful: Path
) -> None:
    key = {"network.node": "model.network", "imbalance.loss": "imbalance.loss"}[field]
    with pytest.raises(CheckpointError, match=f"The checkpoint's {key} ") as error:
        load_classifier(saved(field, node))
    assert not harmful.exists()
    assert "harmful_nets" not in sys.modules
    if isinstance(node, dict) and isinstance(node.get("_target_"), str) and "$" not in str(node):
        assert "trust=[" in str(error.value) or "tensor" in str(node)


def test_the_refusal_names_the_argument_and_the_key_that_allows_it(
    saved: Callable[..., Path],
) -> None:
    node = {"_target_": "timm.create_model", "model_name": "resnet18", "checkpoint_path": "a.pth"}
    with pytest.raises(CheckpointError) as error:
        load_classifier(saved("network.node", node))
    assert str(error.value) == (
        "The checkpoint's model.network is `timm.create_model` with checkpoint_path='a.pth', which "
        "is not built without your consent: it could run code of whoever wrote the file. If you "
        "trust it, add trust=[timm.create_model]."
    )
    with pytest.raises(CheckpointError, match=r"trust=\[my_nets.Net\] or trust=\[my_nets\]\.$"):
        load_classifier(saved("network.node", {"_target_": "my_nets.Net"}))


def test_a_pickle_that_would_run_code_is_not_read(harmful: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (harmful,)

    torch.save({"hyper_parameters": Payload(), "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(
        CheckpointError, match=r"is not a checkpoint of cxr-train \(UnpicklingError"
    ):
        load_classifier(tmp_path / "a.ckpt")
    assert not harmful.exists()


@pytest.mark.parametrize("name", ["_instantiator", "hparams_type", "_class_path", "optimizer"])
def test_no_other_hyper_parameter_is_followed(
    name: str, saved: Callable[..., Path], harmful: Path
) -> None:
    # Lightning imports and calls `_instantiator`, and calls the checkpoint's `hparams_type`.
    with pytest.raises(CheckpointError, match="is not a checkpoint of cxr-train"):
        load_classifier(saved(name, "harmful_nets.Net"))
    assert not harmful.exists()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network.kind", "own"),
        ("network.image_size", "big"),
        ("network.mean", [0.1, 0.2]),
        ("optim.optimizer", None),
        ("classes", ["A"]),
        ("class_counts", 3),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_a_sentence(
    path: str, value: Any, saved: Callable[..., Path]
) -> None:
    with pytest.raises(CxrError):
        load_classifier(saved(path, value))


def test_the_optimizer_of_a_checkpoint_is_not_built(
    saved: Callable[..., Path], harmful: Path
) -> None:
    load_classifier(saved("optim.optimizer", {"_target_": "harmful_nets.Net"}))
    assert not harmful.exists()


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1, "ignore_index": -100},
        {"_target_": "torch.nn.modules.loss.MultiMarginLoss", "p": 1},
        {"_target_": "torchvision.models.resnet18", "zero_init_residual": True},
        {"_target_": "torchvision.models.resnet.resnet18"},
        {"_target_": "torchvision.models.get_model", "name": "vit_b_16", "image_size": 64},
        {"_target_": "torchvision.models.VisionTransformer", "image_size": 64, "patch_size": 8},
        {"_target_": "timm.create_model", "model_name": "vit_tiny_patch16_224.augreg_in21k"},
        {"_target_": "timm.create_model", "model_name": "resnet18", "drop_rate": 0.1},
        {"_target_": "cxr_lightning.models.losses.FocalLoss", "gamma": 2.0},
        {"_target_": "cxr_lightning.models.backbones.CNN5"},
    ],
    ids=str,
)
def test_what_the_framework_itself_offers_needs_no_trust(node: dict[str, Any]) -> None:
    check_node("model.network", node)


def test_every_option_of_conf_needs_no_trust(composed: Callable[..., DictConfig]) -> None:
    networks, losses = (
        [f.stem for f in (conf_dir() / g).glob("*.yaml")] for g in ("model", "imbalance")
    )
    for network, loss in zip_longest(networks, losses, fillvalue="none"):
        config = parse(TrainConfig, composed("train", f"model={network}", f"imbalance={loss}"))
        check_node("model.network", config.model.network)
        check_node("imbalance.loss", config.imbalance.loss)


# --- what a user trusts --------------------------------------------------------------------------


@pytest.fixture
def own_run(composed: Callable[..., DictConfig], harmful: Path, tmp_path: Path) -> Path:
    """A checkpoint of a user's own network and loss, composed from a YAML file outside of conf."""
    for group, text in (
        ("model", "network: {_target_: harmful_nets.Net, layers: {a: [1, 2]}}\nchannels: 1"),
        ("imbalance", "loss: {_target_: harmful_nets.Loss, label_smoothing: 0.1}"),
    ):
        (tmp_path / "my_conf" / group).mkdir(parents=True)
        (tmp_path / "my_conf" / group / "mine.yaml").write_text(text, encoding="utf-8")
    where = f"hydra.searchpath=[{tmp_path}/my_conf]"
    size = ["data=kaggle", f"data.image_size={SIZE_PX}"]
    config = parse(TrainConfig, composed("train", where, "model=mine", "imbalance=mine", *size))
    assert (config.model.name, config.imbalance.name) == ("Net", "Loss")
    check_model(config)
    model = Classifier(
        network={"node": config.model.network, "image_size": SIZE_PX, "channels": 1},
        classes=CLASSES,
        class_counts=[3, 5, 3],
        imbalance=config.imbalance.model_dump(),
        optim=config.optim.model_dump(),
        run=config.model_dump(mode="json"),
    )
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(model, loader(), loader())
    fitted.save_checkpoint(tmp_path / "own.ckpt")
    torch.save(model(images()), tmp_path / "logits.pt")
    return tmp_path / "own.ckpt"


def test_a_users_own_network_and_loss_train_by_yaml_alone_and_load_with_trust(
    own_run: Path,
) -> None:
    with pytest.raises(
        CheckpointError, match=r"trust=\[harmful_nets.Net\] or trust=\[harmful_nets\]"
    ):
        load_classifier(own_run)
    expected = torch.load(own_run.parent / "logits.pt")
    for trust in (["harmful_nets"], ["harmful_nets.Net", "harmful_nets.Loss"]):
        assert torch.equal(load_classifier(own_run, trust)(images()), expected)
    with pytest.raises(CheckpointError, match=r"imbalance.loss is `harmful_nets.Loss`"):
        load_classifier(own_run, ["harmful_nets.Net"])


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "harmful_nets.system", "command": "true"},  # imported there, not its own
        {"_target_": "harmful_nets.nn.Linear"},
        {"_target_": "harmful_nets2.Net"},
        {"_target_": "harmful_nets.Net", "layer": {"_target_": "os.system", "command": "true"}},
        {"_target_": "harmful_nets.Net", "layers": [{"a": {"_target_": "torch.hub.load"}}]},
        {"_target_": "harmful_nets.Net", "text": "${oc.env:HOME}"},
    ],
    ids=str,
)
def test_trust_in_a_package_is_not_trust_in_what_it_imports(
    node: dict[str, Any], saved: Callable[..., Path], harmful: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"The checkpoint's model.network "):
        load_classifier(saved("network.node", node), ["harmful_nets"])


def test_trust_is_a_key_of_evaluate_and_predict(composed: Callable[..., DictConfig]) -> None:
    trust = "trust=[my_package,their_nets.Net]"
    evaluate = parse(EvaluateConfig, composed("evaluate", "ckpt_path=a", trust))
    predict = parse(PredictConfig, composed("predict", "ckpt_path=a", "input=b", trust))
    assert evaluate.trust == predict.trust == ["my_package", "their_nets.Net"]
    assert parse(EvaluateConfig, composed("evaluate", "ckpt_path=a")).trust == []
