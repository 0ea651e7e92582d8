"""Contrast normalisation: films of different exposure made alike when they are read."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from cxr_lightning.errors import ConfigError

CLIP_LIMIT, TILES = 2.0, 8  # how much a tile's histogram may rise above even; tiles per side


def normalised(image: Image.Image, how: str) -> npt.NDArray[np.uint8]:
    """A grey image's pixels, uint8 (H, W), with the contrast that `data.contrast` names.

    - `none`: as they are.
    - `stretch`: the 1st percentile becomes 0 and the 99th 255; what lies beyond is cut off.
    - `equalize`: every grey level becomes equally frequent.
    - `clahe`: so in each of 8×8 tiles, with limited slope (Zuiderveld, Graphics Gems IV, 1994).
    """
    if how == "stretch":
        image = ImageOps.autocontrast(image, cutoff=1)
    elif how == "equalize":
        image = ImageOps.equalize(image)
    pixels = np.asarray(image, dtype=np.uint8)
    if how == "clahe":
        import cv2

        pixels = np.asarray(cv2.createCLAHE(CLIP_LIMIT, (TILES, TILES)).apply(pixels), np.uint8)
    return pixels


def check_available(how: str) -> None:
    """Raises `ConfigError` where the library for it is not installed."""
    if how == "clahe":
        try:
            import cv2  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "data.contrast=clahe needs OpenCV: pip install 'cxr-lightning[clahe]'"
            ) from error
