"""Films in DICOM, written here in many forms, have the right grey; others are a sentence."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_lightning.data.decode import UnreadableImageError, decode, looks_like_image
from cxr_lightning.data.facts import file_facts

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SIZE_PX = 16
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}


def ramp(bits: int) -> np.ndarray:
    """Values from 0 to the largest of so many bits, (16, 16)."""
    top = 2**bits - 1
    return np.linspace(0, top, SIZE_PX**2).round().reshape(SIZE_PX, SIZE_PX).astype(np.uint16)


def write(
    file: Path,
    values: np.ndarray,
    bits: int,
    photometric: str = "MONOCHROME2",
    syntax: str = "explicit",
    **more: Any,
) -> Path:
    """A DICOM file of one grey film."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    uid = SYNTAXES[syntax]
    meta.TransferSyntaxUID = uid if not uid.is_compressed else ExplicitVRLittleEndian
    data = FileDataset(str(file), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Modality, data.PatientName = "DX", "Somebody^Secret"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated = 8 if bits <= 8 else 16
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in more.items():
        setattr(data, name, value)
    stored = values.astype(np.uint8 if bits <= 8 else values.dtype)
    if syntax == "JPEG 2000":
        buffer = io.BytesIO()
        picture = Image.fromarray(stored)
        picture.save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
        data.PixelData = encapsulate([buffer.getvalue()])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        meta.TransferSyntaxUID = uid
    else:
        data.PixelData = stored.tobytes()
        if uid.is_compressed:
            data.compress(uid)
    data.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_every_depth_and_syntax_has_the_right_grey(
    photometric: str, bits: int, syntax: str, tmp_path: Path
) -> None:
    values = ramp(bits)
    file = write(tmp_path / "a.dcm", values, bits, photometric, syntax)
    expected = values * (255 / (2**bits - 1))
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_allclose(decode(file, SIZE_PX), expected, atol=0.51)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_is_that_of_the_standard(photometric: str, bits: int, tmp_path: Path) -> None:
    values, top = ramp(bits), 2**bits - 1
    centre, width = round(top / 2), round(top / 4)
    file = write(
        tmp_path / "a.dcm", values, bits, photometric, WindowCenter=centre, WindowWidth=width
    )
    # PS3.3, C.11.2.1.2.1, equations of the linear function.
    x = (values - (centre - 0.5)) / (width - 1) + 0.5
    expected = np.clip(x, 0, 1) * 255
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_allclose(decode(file, SIZE_PX), expected, atol=0.6)


def test_of_several_windows_the_first_is_used(tmp_path: Path) -> None:
    values = ramp(12)
    one = write(tmp_path / "a.dcm", values, 12, WindowCenter=1000, WindowWidth=500)
    both = write(tmp_path / "b.dcm", values, 12, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    np.testing.assert_array_equal(decode(one, SIZE_PX), decode(both, SIZE_PX))


def test_rescaled_values_are_windowed_after_that(tmp_path: Path) -> None:
    values = ramp(12)
    file = write(
        tmp_path / "a.dcm",
        values,
        12,
        RescaleSlope=2,
        RescaleIntercept=-1000,
        WindowCenter=3000,
        WindowWidth=2001,
    )
    x = (2.0 * values - 1000 - 2999.5) / 2000 + 0.5
    np.testing.assert_allclose(decode(file, SIZE_PX), np.clip(x, 0, 1) * 255, atol=0.6)
    plain = write(tmp_path / "b.dcm", values, 12, RescaleSlope=2, RescaleIntercept=-1000)
    np.testing.assert_allclose(decode(plain, SIZE_PX), values * (255 / 4095), atol=0.51)


def lut(table: np.ndarray, bits: int, first: int = 0) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(table), first, bits]
    item.LUTData = table.astype(np.uint16).tolist()
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    return item


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_is_looked_up(photometric: str, tmp_path: Path) -> None:
    values = ramp(10)
    table = np.round(1023 * (np.arange(1024) / 1023) ** 2)
    file = write(tmp_path / "a.dcm", values, 10, photometric, VOILUTSequence=[lut(table, 10)])
    expected = table[values] * (255 / 1023)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_allclose(decode(file, SIZE_PX), expected, atol=0.51)


def test_a_modality_lut_is_looked_up(tmp_path: Path) -> None:
    values = ramp(8)
    table = 65535 - np.arange(256) * 256
    item = lut(table, 16)
    item.ModalityLUTType = "US"
    file = write(tmp_path / "a.dcm", values, 8, ModalityLUTSequence=[item])
    np.testing.assert_allclose(decode(file, SIZE_PX), table[values] * (255 / 65535), atol=0.51)


def test_signed_values_have_their_whole_range(tmp_path: Path) -> None:
    values = (ramp(12).astype(np.int32) - 2048).astype(np.int16)
    file = write(tmp_path / "a.dcm", values, 12)
    np.testing.assert_allclose(decode(file, SIZE_PX), ramp(12) * (255 / 4095), atol=0.51)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    rgb = np.zeros((SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    rgb[..., 0] = 200
    file = write(tmp_path / "a.dcm", rgb[..., 0], 8)
    data = pydicom.dcmread(file)
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    data.PlanarConfiguration, data.PixelData = 0, rgb.tobytes()
    data.save_as(file)
    np.testing.assert_allclose(decode(file, SIZE_PX), 0.299 * 200, atol=1)


def changed(**values: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for name, value in values.items():
            setattr(data, name, value) if value is not None else delattr(data, name)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(NumberOfFrames=2), "DICOM with 2 frames"),
        (changed(PhotometricInterpretation="PALETTE COLOR"), "photometric interpretation PALETTE"),
        (changed(PixelData=None), "DICOM without pixels"),
        (changed(Rows=None, Modality="SR"), r"DICOM without a picture \(SR\)"),
        (changed(Rows=60_000, Columns=60_000), "is too large"),
        (changed(PixelData=b"\0\0"), "pixel data"),
    ],
)
def test_what_is_no_single_film_is_a_sentence(
    change: Callable[[Any], None], words: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "a.dcm", ramp(8), 8)
    data = pydicom.dcmread(file)
    change(data)
    data.save_as(file)
    with pytest.raises(UnreadableImageError, match=words):
        decode(file, SIZE_PX)


def test_a_name_without_a_suffix_is_read_and_its_facts_are_of_the_header(tmp_path: Path) -> None:
    file = write(tmp_path / "1.2.840.113619.2.30", ramp(12), 12, "MONOCHROME1")
    assert looks_like_image(file) and decode(file, SIZE_PX).shape == (SIZE_PX, SIZE_PX)
    facts = file_facts(tmp_path / "cache", tmp_path, [file.name]).iloc[0]
    assert (facts["width"], facts["bits"], facts["format"]) == (SIZE_PX, 12, "DICOM")


def own_files() -> list[Path]:
    """What pydicom ships with itself, for its tests."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(file for file in folder.rglob("*.dcm") if file.stat().st_size < 2**20)


@pytest.mark.parametrize("file", own_files(), ids=lambda file: file.stem)
def test_each_of_pydicom_s_files_is_read_or_refused_in_a_sentence(file: Path) -> None:
    try:
        pixels = decode(file, SIZE_PX)
    except UnreadableImageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert pixels.shape == (SIZE_PX, SIZE_PX) and pixels.dtype == np.uint8
