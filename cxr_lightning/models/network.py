"""Raw grey pixels to logits: preprocessing and backbone in one network."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from cxr_lightning.errors import ConfigError, did_you_mean
from cxr_lightning.instantiate import build, parameters

TIMM = "timm.create_model"
WITHOUT_HELPERS = "Set +model.network.aux_logits=false."


def filled_in(
    node: dict[str, Any], num_classes: int, image_size: int, channels: int
) -> dict[str, Any]:
    """The arguments that the framework adds to those of a `model.network` node.

    `num_classes` always; `image_size` (in pixels), and `channels` as `in_channels` or `in_chans`,
    where the target's signature names them (timm.create_model passes `in_chans` on). What the node
    says itself stays. Raises `ConfigError` where the target does not exist or has no `num_classes`.
    """
    known = parameters(node)
    open_ended = any(p.kind == p.VAR_KEYWORD for p in known.values())
    if known and "num_classes" not in known and not open_ended:
        raise ConfigError(
            f"`{node['_target_']}` cannot be built: a network must take the argument num_classes, "
            f"the number of its logits; this one takes {', '.join(known)}."
        )
    named = {"num_classes", *known, *(["in_chans"] if node["_target_"] == TIMM else [])} - {*node}
    given = {"num_classes": num_classes, "image_size": image_size, "in_channels": channels}
    return {k: v for k, v in (given | {"in_chans": channels}).items() if k in named}


def check_names(node: dict[str, Any]) -> None:
    """Raises `ConfigError` for a model that its library lacks, and for weights in the node."""
    target = str(node.get("_target_"))
    library, base, known = target.partition(".")[0], "", [""]
    for key in ("pretrained", "weights", "checkpoint_path", "pretrained_cfg"):
        if key in node and library in ("timm", "torchvision"):
            raise ConfigError(
                f"Set model.weights=DEFAULT, or a path, instead of model.network.{key}: then the "
                "head, the channels and the normalisation follow."
            )
    if target == TIMM and ":" not in str(node.get("model_name")):
        base = str(node.get("model_name")).partition(".")[0]
        known = build({"_target_": "timm.list_models"})
    elif target == "torchvision.models.get_model":
        base, known = str(node.get("name")), models.list_models(module=models)
    if base not in known:
        hint = did_you_mean(base, known)
        raise ConfigError(f"{library} has no classification model `{base}`{hint}")


class Preprocess(nn.Module):
    """uint8 grey (B, 1, H, W) to float (B, C, H, W): divide by 255, normalise, expand channels.

    Part of the network, so that a checkpoint cannot be fed the wrong scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        for name, values in (("mean", mean or [0.0]), ("std", std or [1.0])):
            if len(values) not in (1, channels):
                raise ConfigError(
                    f"model.{name} has {len(values)} values, but this network reads {channels} "
                    f"channel{'s' * (channels > 1)}."
                )
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Scale to 0–1, then (x - mean) / std in each channel."""
        x = image.to(self.mean.dtype).div(255).expand(-1, self.channels, -1, -1)
        return ((x - self.mean) / self.std).contiguous(memory_format=self.format)


class Network(nn.Module):
    """Preprocessing, then the backbone."""

    def __init__(
        self,
        *,
        node: dict[str, Any],
        num_classes: int,
        image_size: int,
        channels: int = 3,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        channels_last: bool = True,
    ) -> None:
        """`node` is `model.network`, the others are as in `conf/model`; `image_size` in pixels."""
        super().__init__()
        self.preprocess = Preprocess(channels, mean, std, channels_last)
        check_names(node)
        self.backbone = build(node, **filled_in(node, num_classes, image_size, channels))
        if not isinstance(self.backbone, nn.Module):
            found = type(self.backbone).__name__
            raise ConfigError(f"`{node['_target_']}` builds a {found}, not a torch.nn.Module.")
        self.backbone.to(memory_format=self.preprocess.format)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to logits (B, num_classes)."""
        return self.backbone(self.preprocess(image))  # type: ignore[no-any-return]


def head_of(backbone: nn.Module) -> nn.Module:
    """The last layer with weights, which makes the logits of what the layers before it found."""
    layers = [m for m in backbone.modules() if not list(m.children()) and list(m.parameters())]
    return layers[-1]


def check_logits(network: Network, name: str, num_classes: int, image_size: int) -> None:
    """One forward pass in train mode on two images; `image_size` in pixels.

    Raises `ConfigError` where it fails, or returns anything but float logits (2, num_classes).
    """
    backbone, size = network.backbone, (2, network.preprocess.channels, image_size, image_size)
    image = torch.arange(2 * image_size**2).remainder(251).to(torch.uint8)
    try:
        logits = network.train()(image.view(2, 1, image_size, image_size))
    except Exception as error:  # whatever a network that somebody wrote may raise
        reason = " ".join(str(error).split()).rstrip(".!")
        what = f"{name} cannot process a batch of shape {size}: {reason}."
        raise ConfigError(f"{what} {_remedy(backbone, reason)}") from error
    expected = f"{name} must return float logits of shape (2, {num_classes}) for two images"
    if not isinstance(logits, Tensor):
        has_helpers = getattr(backbone, "aux_logits", False)
        remedy = WITHOUT_HELPERS if has_helpers else "Its forward must return the logits alone."
        raise ConfigError(f"{expected}; in training it returns a {type(logits).__name__}. {remedy}")
    if logits.shape != (2, num_classes) or not logits.is_floating_point():
        raise ConfigError(
            f"{expected}; it returns {logits.dtype} of shape {tuple(logits.shape)}. Its last layer "
            f"must have the num_classes={num_classes} outputs that it is built with."
        )


def _remedy(backbone: Any, reason: str) -> str:
    if getattr(backbone, "aux_logits", False):  # googlenet, inception_v3
        return WITHOUT_HELPERS
    if " channels" in reason:
        return "Set model.channels to the number that the network reads."
    own, argument = getattr(backbone, "image_size", 0), "image_size"  # torchvision's ViT
    if hasattr(backbone, "pretrained_cfg"):  # timm
        own, argument = backbone.pretrained_cfg["input_size"][-1], "img_size"
    if not own:
        return "The images may be too small or too large for it (data.image_size)."
    return f"Set data.image_size={own}, or +model.network.{argument}=… where it takes other sizes."
