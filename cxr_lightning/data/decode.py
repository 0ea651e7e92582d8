"""One image file to grey pixels, whatever the file's format, depth or colours."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from cxr_lightning.data.contrast import normalised
from cxr_lightning.data.dicom import is_dicom, read_dicom
from cxr_lightning.errors import ConfigError

VERSION = 1  # part of the store's key: raise it when the same file would give other pixels

# File names that promise an image, or something else; of all others, the content decides.
SUFFIXES = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|tiff?|webp|jp2|j2k|p[gp]m|gif|avif|dcm)")
OTHER_SUFFIXES = re.compile(
    r"\.(txt|md|rst|[ct]sv|jsonl?|xml|html?|ya?ml|toml|ini|log|pdf|docx?|xlsx?|ods|py|ipynb|[mr]|sh"
    r"|zip|gz|tar|tgz|7z|rar|npy|npz|mat|h5|pkl|pth?|ckpt|db|part|tmp|mp4|avi)"
)
# Formats of Pillow in which X-rays come. Some of its others only guess, or start programs.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "GIF", "AVIF")
FULL = 65535
MAX_SAMPLE_VALUE = 281


class UnreadableImageError(Exception):
    """The file promises an image and cannot be decoded; the text is the reason."""


def looks_like_image(path: Path) -> bool:
    """Whether the name promises an image or, where the name says nothing, the content is one.

    Most of DICOM's names end in a part of a number, which is no suffix: `1.2.840.113619.2.30`.
    """
    suffix = path.suffix.lower()
    if SUFFIXES.fullmatch(suffix):
        return True
    if OTHER_SUFFIXES.fullmatch(suffix):
        return False
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return is_dicom(path)
    except (PermissionError, Image.DecompressionBombError):
        return True  # decode() says what is wrong with it
    except (OSError, ValueError):
        return False


def decode(
    path: Path, size_px: int, white: int | None = None, contrast: str = "none"
) -> npt.NDArray[np.uint8]:
    """Read an image as grey (size_px, size_px) uint8, aspect ratio not kept (as in the report).

    Colours become ITU-R 601 luma, EXIF rotation is applied, transparency lies over black, 16 bits
    are scaled to 8, of several frames the first is read. DICOM is read as `dicom.read_dicom` does;
    of several frames none. `white` is the value of white in images
    of 16 bits, which belongs to their whole set (`store.whites_of`); None: this file's own. Last,
    the contrast is normalised (`contrast.normalised`). Raises `UnreadableImageError`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            # libjpeg decodes at 1/2, 1/4 or 1/8 where that is still at least the size asked for:
            # twice as fast, 0.4 grey levels off on average.
            image.draft("L", (size_px, size_px))
            is_deep = image.mode.startswith("I")
            if is_deep:
                white = FULL if _is_scaled(image) else white or _own_white(image)
            grey = _to_grey(ImageOps.exif_transpose(image), white or FULL)
            if is_deep and isinstance(image, TiffImageFile):
                # Where white is zero, Pillow (13.0) inverts 8 bits itself, but not 16.
                is_inverted = image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
                grey = ImageOps.invert(grey) if is_inverted else grey
            resized = grey.resize((size_px, size_px), Image.Resampling.BILINEAR)
            return normalised(resized, contrast)
    except UnidentifiedImageError:
        if path.stat().st_size == 0:
            raise UnreadableImageError("the file is empty") from None
        if path.suffix.lower() != ".dcm" and not is_dicom(path):
            raise UnreadableImageError("its content is no image format that Pillow knows") from None
        grey = _dicom(path)
        return normalised(grey.resize((size_px, size_px), Image.Resampling.BILINEAR), contrast)
    except Exception as error:
        # On a damaged header Pillow stumbles in many ways: OSError, SyntaxError, struct.error, …
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def _dicom(path: Path) -> Image.Image:
    try:
        return read_dicom(path)
    except ConfigError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(reason) from error


def decode_or_reason(
    path: Path, size_px: int, white: int | None, contrast: str = "none"
) -> npt.NDArray[np.uint8] | str:
    """As `decode`, or why it cannot."""
    try:
        return decode(path, size_px, white, contrast)
    except UnreadableImageError as error:
        return str(error)


def white_of(path: Path) -> int:
    """The value of white that one file speaks for; 0 where its format or 8 bits settle it."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            is_free = image.mode.startswith("I") and not _is_scaled(image)
            return _own_white(image) if is_free else 0
    except Exception:  # decode() says what is wrong with it
        return 0


def _own_white(image: Image.Image) -> int:
    """What the file states, else all bits that its largest value needs: 1023 for 10 bits."""
    most = bits = 0
    if isinstance(image, TiffImageFile):
        most = int(np.max(image.tag_v2.get(MAX_SAMPLE_VALUE, 0)))
        stated = int(image.tag_v2.get(BITSPERSAMPLE, (16,))[0])
        bits = stated if 8 < stated < 16 else 0  # 12, packed
    elif isinstance(image, PngImageFile):
        with Path(str(image.filename)).open("rb") as file:
            head = file.read(65536).partition(b"IDAT")[0]
        if b"\0\0\0\1sBIT" in head[:-1]:  # four bytes of length, the name, one number for grey
            bits = min(head.partition(b"\0\0\0\1sBIT")[2][0], 16)
    largest = int(_deep(image).max())  # read last: that closes the file
    if largest <= most <= FULL:
        return max(most, 255)
    if bits:
        # PNG's specification wants such values stretched to 16 bits; many programs do not do it.
        return 2**bits - 1 if largest < 2**bits else FULL
    return int(max(255, 2 ** largest.bit_length() - 1))


def _is_scaled(image: Image.Image) -> bool:
    """Whether Pillow has stretched the values to 16 bits, by what the file says of its range."""
    return image.format == "JPEG2000" or (
        image.format == "PPM" and any(tile[0] == "ppm" for tile in getattr(image, "tile", ()))
    )


def _deep(image: Image.Image) -> npt.NDArray[np.int64]:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > FULL:
        raise UnreadableImageError("32-bit pixels have no defined range; save as 16-bit")
    return values


def _to_grey(image: Image.Image, white: int) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.rint(np.minimum(_deep(image), white) * (255 / white))
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no defined range; save as 16-bit")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    return image.convert("L")
