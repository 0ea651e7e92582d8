"""Raw grey pixels to logits: preprocessing and backbone in one network."""

from typing import Any

import torch
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.models.backbones import build_backbone


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
        self.channels, self.channels_last = channels, channels_last
        for name, values in (("mean", mean), ("std", std)):
            if values and len(values) not in (1, channels):
                raise ConfigError(
                    f"model.{name} has {len(values)} values, but this network reads {channels} "
                    f"channel{'s' * (channels > 1)}."
                )
        self.register_buffer("mean", torch.tensor(mean or [0.0]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std or [1.0]).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Scale to 0–1, then (x - mean) / std a channel."""
        x = image.to(self.mean.dtype).div(255).expand(-1, self.channels, -1, -1)
        x = (x - self.mean) / self.std
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return x


class Network(nn.Module):
    """Preprocessing, then the backbone."""

    def __init__(
        self,
        *,
        library: str,
        name: str,
        num_classes: int,
        image_size: int,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        channels_last: bool = True,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Arguments as in `conf/model`; `image_size` in pixels."""
        super().__init__()
        self.backbone, channels = build_backbone(library, name, num_classes, image_size, kwargs)
        self.preprocess = Preprocess(channels, mean, std, channels_last)
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to logits (B, num_classes)."""
        return self.backbone(self.preprocess(image))  # type: ignore[no-any-return]
