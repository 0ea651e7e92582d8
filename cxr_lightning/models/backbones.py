"""Backbones by name, and where their pretrained weights come from."""

import difflib
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from cxr_lightning.config import ModelConfig
from cxr_lightning.errors import CheckpointError, ConfigError
from cxr_lightning.models.cnn5 import CNN5
from cxr_lightning.models.plain18 import plain18

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def build_backbone(
    library: str,
    name: str,
    num_classes: int,
    image_size: int,
    kwargs: dict[str, Any] | None = None,
) -> tuple[nn.Module, int]:
    """A backbone with random weights, and the number of channels it reads.

    Raises:
        ConfigError: the library does not know the name or the kwargs, or is not installed.
    """
    try:
        return _build(library, name, num_classes, image_size, kwargs or {})
    except TypeError as error:
        if not kwargs:
            raise
        raise ConfigError(f"{name} does not take model.kwargs={kwargs}: {error}.") from error


def _build(
    library: str, name: str, num_classes: int, image_size: int, kwargs: dict[str, Any]
) -> tuple[nn.Module, int]:
    if library == "own":
        if name == "cnn5":
            return CNN5(1, num_classes, image_size, **kwargs), 1
        if name == "plain18":
            return plain18(num_classes, **kwargs), 3
        raise ConfigError(f"model.name={name} is not ours: cnn5 or plain18.")
    if library == "torchvision":
        if name not in torchvision_models.list_models(module=torchvision_models):
            raise ConfigError(
                f"torchvision has no classification model `{name}`; it has "
                f"{', '.join(torchvision_models.list_models(module=torchvision_models))}."
            )
        return torchvision_models.get_model(name, num_classes=num_classes, **kwargs), 3
    timm = _timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=10)
        close = ", ".join(near) or "see timm.list_models()"
        raise ConfigError(f"timm has no model `{name}` (model.name). Close: {close}.")
    return timm.create_model(name, num_classes=num_classes, **kwargs), 3


def resolve_normalisation(model: ModelConfig) -> tuple[list[float] | None, list[float] | None]:
    """Mean and standard deviation a channel: as set, else ImageNet's for a library's weights."""
    own = model.library == "own"
    if model.weights is None or own or model.mean is not None or model.std is not None:
        return model.mean, model.std
    return IMAGENET_MEAN, IMAGENET_STD


def load_pretrained(backbone: nn.Module, model: ModelConfig) -> None:
    """Copy pretrained weights into `backbone`, all but a head of another size.

    Raises:
        CheckpointError: the weights cannot be downloaded, read, or do not fit.
    """
    assert model.weights is not None
    if model.weights == "DEFAULT":
        loaded = _download(model)
    else:
        loaded = _read(Path(model.weights).expanduser())
    own = backbone.state_dict()
    fitting = {k: v for k, v in loaded.items() if k in own and v.shape == own[k].shape}
    left = sorted(own.keys() - fitting.keys())
    head = list(own)[-1].rpartition(".")[0]
    body = [key for key in left if key.rpartition(".")[0] != head]
    if body:
        raise CheckpointError(
            f"{model.weights} does not fit {model.name}: {len(left)} of {len(own)} tensors are "
            f"missing or of another shape, for example {body[0]}."
        )
    backbone.load_state_dict(fitting, strict=False)


def _download(model: ModelConfig) -> dict[str, Tensor]:
    if model.library == "own":
        raise ConfigError(
            f"{model.name} has no pretrained weights; set model.weights=null or a path."
        )
    if model.library == "timm":
        try:
            pretrained = _timm().create_model(model.name, pretrained=True, **model.kwargs)
        except Exception as error:  # the hub raises its own, requests' and OSErrors
            raise CheckpointError(
                f"timm could not fetch the weights of {model.name} ({error}). Fetch them where "
                "there is network and set model.weights=/path/to/file.pth"
            ) from error
        return dict(pretrained.state_dict())
    weights = torchvision_models.get_model_weights(model.name).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise CheckpointError(
            f"The weights of {model.name} could not be downloaded ({error}). Download "
            f"{weights.url} where there is network and place the file in {folder}/, or set "
            "model.weights=/path/to/file.pth"
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(
            f"model.weights={file}: no such file. Give DEFAULT, a path to a state dict, or null."
        )
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises unpickling, zip, EOF and runtime errors
        raise CheckpointError(f"model.weights={file} cannot be read: {error}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"model.weights={file} holds no state dict: names and tensors.")
    # A checkpoint of this framework holds the backbone below `network.backbone.`.
    return {key.removeprefix("network.backbone."): value for key, value in state.items()}


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise ConfigError("model=timm needs timm: pip install 'cxr-lightning[timm]'.") from None
    return timm
