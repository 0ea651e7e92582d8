"""One image file to grey pixels, whatever the file's format, depth or colours."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

VERSION = 1
"""Part of the store's key: raise it when the same file would give other pixels."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})
"""File names that promise an image. What the file really is, its first bytes decide."""


class UnreadableImageError(Exception):
    """The file promises an image and cannot be decoded; the text is the reason."""


def looks_like_image(path: Path) -> bool:
    """Whether the name promises an image or, where the name says nothing, the content is one."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix:
        return False
    try:
        with Image.open(path):
            return True
    except (UnidentifiedImageError, OSError):
        return False


def decode(path: Path, size_px: int) -> npt.NDArray[np.uint8]:
    """Read an image as grey (size_px, size_px) uint8, aspect ratio not kept (as in the report).

    Colours become ITU-R 601 luma, EXIF rotation is applied, transparency lies over black, 16 bits
    are scaled to 8, of several frames the first is read.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with Image.open(path) as image:
            # libjpeg decodes at 1/2, 1/4 or 1/8 where that is still at least the size asked for:
            # twice as fast, 0.4 grey levels off on average.
            image.draft("L", (size_px, size_px))
            grey = _to_grey(ImageOps.exif_transpose(image))
            if _white_is_zero(image):
                grey = ImageOps.invert(grey)
            resized = grey.resize((size_px, size_px), Image.Resampling.BILINEAR)
            pixels: npt.NDArray[np.uint8] = np.asarray(resized, dtype=np.uint8)
            return pixels
    except UnidentifiedImageError:
        raise UnreadableImageError(_unknown_content(path)) from None
    except UnreadableImageError:
        raise
    except Exception as error:
        # On a damaged header Pillow stumbles in many ways: OSError, SyntaxError, struct.error, …
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no defined range; save as 16-bit")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    return image.convert("L")


def _white_is_zero(image: Image.Image) -> bool:
    # Pillow (13.0) inverts such a TIFF of 8 bits itself, but not one of 16.
    if not isinstance(image, TiffImageFile) or not image.mode.startswith("I"):
        return False
    return bool(image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0)


def _to_8_bits(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    values = pixels.astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImageError("32-bit pixels have no defined range; save as 16-bit")
    # Detectors store 12 bits in 16; read at full range such an image would be black.
    white = 4095 if values.max() <= 4095 else 65535
    grey: npt.NDArray[np.uint8] = np.rint(values * (255 / white)).astype(np.uint8)
    return grey


def _unknown_content(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM" or path.suffix.lower() == ".dcm":
        return "DICOM is not read yet; export it as 16-bit PNG"
    if not start:
        return "the file is empty"
    return "its content is no image format that Pillow knows"
