"""A radiograph in DICOM to grey pixels, as a viewer shows it: rescaled, windowed, upright in grey.

pydicom does what the standard (PS3.3, C.11.1 and C.11.2) asks for; GDCM and CharLS decode what is
compressed. Nothing but the pixels is kept.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxr_lightning.errors import ConfigError

if TYPE_CHECKING:
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
MOST_PIXELS = 2**28


class NotAFilmError(Exception):
    """The file is DICOM, and no single radiograph; the text says what it is."""


def is_dicom(path: Path) -> bool:
    """Whether the content is DICOM; old files lack the preamble."""
    with path.open("rb") as file:
        start = file.read(132)
    # Those begin with group 8 (or 2), a small element number before it.
    return start[128:] == b"DICM" or start[:4] in (b"\x08\0\0\0", b"\x08\0\5\0", b"\2\0\0\0")


def read_dicom(path: Path) -> Image.Image:
    """The film as an 8-bit grey picture, white bone.

    Values are rescaled (or looked up in the modality LUT), then shown by the VOI LUT or the first
    window; without either, from the smallest to the largest value that the stored bits can have.
    MONOCHROME1 is inverted. Raises `NotAFilmError` for what is no single grey or colour picture,
    `ConfigError` where pydicom is not installed, and what pydicom raises of damaged files.
    """
    dataset = _opened(path)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if n_frames > 1:
        raise NotAFilmError(f"DICOM with {n_frames} frames; export the film that you want")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    pixels = dataset.pixel_array
    if int(dataset.get("SamplesPerPixel", 1)) == 3:
        return _colour(pixels, dataset)
    if photometric not in GREY:
        raise NotAFilmError(f"DICOM with photometric interpretation {photometric or 'unknown'}")
    grey = _shown(pixels, dataset)
    return Image.fromarray(255 - grey if photometric == "MONOCHROME1" else grey)


def facts_of_dicom(path: Path) -> dict[str, Any]:
    """What the header says of the picture: `width, height, mode, bits, format, colour`."""
    dataset = _opened(path, stop_before_pixels=True)
    mode = str(dataset.get("PhotometricInterpretation", "unknown"))
    return {
        "width": int(dataset.get("Columns", 0)),
        "height": int(dataset.get("Rows", 0)),
        "mode": mode,
        "bits": int(dataset.get("BitsStored", 0)),
        "format": "DICOM",
        "colour": 0.0,
    }


def _opened(path: Path, *, stop_before_pixels: bool = False) -> "Dataset":
    try:
        from pydicom import dcmread
    except ImportError:
        raise ConfigError("DICOM needs pydicom: pip install 'cxr-lightning[dicom]'") from None
    dataset = dcmread(path, force=True, stop_before_pixels=stop_before_pixels)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not rows or not columns:
        kind = str(dataset.get("Modality", "")) or "no modality"
        raise NotAFilmError(f"DICOM without a picture ({kind})")
    if rows * columns > MOST_PIXELS:
        raise NotAFilmError(f"DICOM of {columns:,} × {rows:,} pixels is too large")
    if not stop_before_pixels and "PixelData" not in dataset:
        raise NotAFilmError("DICOM without pixels")
    return dataset


def _shown(pixels: npt.NDArray[Any], dataset: "Dataset") -> npt.NDArray[np.uint8]:
    """Stored values to the 8 bits of a screen, before any inversion."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(pixels, dataset)
    shown = np.asarray(apply_voi_lut(values, dataset, index=0, prefer_lut=True), dtype=np.float64)
    low, high = _range(dataset)
    scaled = (shown - low) * (255 / max(high - low, 1e-9))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _range(dataset: "Dataset") -> tuple[float, float]:
    """The smallest and largest value that can be shown."""
    voi = dataset.get("VOILUTSequence")
    if voi and voi[0].get("LUTDescriptor"):
        return 0.0, float(2 ** int(voi[0].LUTDescriptor[2]) - 1)
    modality = dataset.get("ModalityLUTSequence")
    if modality:
        return 0.0, float(2 ** int(modality[0].LUTDescriptor[2]) - 1)
    bits, is_signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation", 0)) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope") or 1), dataset.get("RescaleIntercept") or 0
    ends = (low * slope + float(intercept), high * slope + float(intercept))
    return min(ends), max(ends)


def _colour(pixels: npt.NDArray[Any], dataset: "Dataset") -> Image.Image:
    """A photograph or screenshot: its luma."""
    if int(dataset.BitsStored) != 8:
        raise NotAFilmError(f"DICOM in colour with {dataset.BitsStored} bits")
    from pydicom.pixels.processing import convert_color_space

    kind = str(dataset.PhotometricInterpretation)
    if kind.startswith("YBR") and not dataset.file_meta.TransferSyntaxUID.is_compressed:
        pixels = convert_color_space(pixels, kind, "RGB")
    return Image.fromarray(np.asarray(pixels, dtype=np.uint8), "RGB").convert("L")
