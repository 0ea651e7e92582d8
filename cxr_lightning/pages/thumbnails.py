"""Images made small, inside the page."""

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxr_lightning.data.decode import UnreadableImageError, decode

SIZE_PX = 144


def thumbnail(file: Path, white: int | None = None) -> str | None:
    """A file as a data URL, 144 by 144 px; None where it is not there or cannot be read."""
    try:
        pixels = decode(file, SIZE_PX, white)
    except (UnreadableImageError, OSError):
        return None
    return data_url(pixels)


def data_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Grey (H, W) or RGB (H, W, 3) pixels as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
