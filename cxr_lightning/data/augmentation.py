"""Transforms of one uint8 image (1, H, W) that torchvision has slower, or only in pixels."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2


class _ByPillow(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """By way of Pillow, which turns and scales without float pixels: five times as fast.

    The pixels are those of torchvision's on a PIL image; against the same on a tensor about one in
    a thousand, at edges, is its neighbour.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply what `params` says."""
        moved = super().transform(Image.fromarray(inpt[0].numpy()), params)
        return torch.from_numpy(np.array(moved))[None]


class RandomRotation(_ByPillow, v2.RandomRotation):  # type: ignore[misc]
    """torchvision's RandomRotation."""


class RandomAffine(_ByPillow, v2.RandomAffine):  # type: ignore[misc]
    """torchvision's RandomAffine: turns, moves, scales and shears in one step.

    `interpolation` is `bilinear`, `nearest` or `bicubic`; `more` are torchvision's arguments.
    """

    def __init__(self, degrees: float, interpolation: str = "bilinear", **more: Any) -> None:
        super().__init__(degrees, interpolation=v2.InterpolationMode(interpolation), **more)


class RandomShift(v2.RandomCrop):  # type: ignore[misc]
    """torchvision's RandomCrop of an image with a black margin of `share` of its side `size` px."""

    def __init__(self, size: int, share: float) -> None:
        super().__init__(size, padding=round(share * size))


class RandomGamma(v2.Transform):  # type: ignore[misc]
    """Each pixel p of 0 to 1 becomes p^γ: a film that was exposed longer or shorter.

    log γ is uniform from -log `limit` to log `limit`, so that γ and 1/γ are equally likely.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        if limit < 1:
            raise ValueError(f"limit should be at least 1 (got {limit})")
        self.limit = limit

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw γ."""
        return {"gamma": self.limit ** (2 * torch.rand(()).item() - 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Tensor:
        """Look every grey level up in a table."""
        levels = torch.arange(256, dtype=torch.float64).div(255).pow(params["gamma"])
        return levels.mul(255).round().to(torch.uint8)[inpt.long()]
