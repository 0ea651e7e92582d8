"""Transforms of one uint8 image (1, H, W) that torchvision has slower, or only in pixels."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2


class RandomRotation(v2.RandomRotation):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, by way of Pillow, which rotates without float pixels: five times as fast.

    The pixels are those of torchvision's on a PIL image; against the same on a tensor about one in
    a thousand, at edges, is its neighbour.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Rotate by the angle in `params`."""
        rotated = super().transform(Image.fromarray(inpt[0].numpy()), params)
        return torch.from_numpy(np.array(rotated))[None]


class RandomShift(v2.RandomCrop):  # type: ignore[misc]
    """torchvision's RandomCrop of an image with a black margin of `share` of its side `size` px."""

    def __init__(self, size: int, share: float) -> None:
        super().__init__(size, padding=round(share * size))
