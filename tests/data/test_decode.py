"""One picture in every format gives one grey; what cannot be decoded is named with the reason."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cxr_lightning.data.decode import UnreadableImageError, decode, looks_like_image

SIZE = 64
JPEG_TOLERANCE = 3  # grey levels, at quality 95
Grey = npt.NDArray[np.uint8]

Y, X = np.mgrid[0:SIZE, 0:SIZE]
# 0 in the top left corner, 63 * 2 = 126 top right, 63 bottom left, 189 bottom right: a wrong turn
# or mirror image is at least 63 grey levels off somewhere. Decoded at its own size, it is not
# resized, so the expected pixels are the drawn ones.
PICTURE: Grey = (2 * X + Y).astype(np.uint8)
SHUFFLE = np.random.default_rng(0).permutation(256).astype(np.uint8)


def palette_picture() -> Image.Image:
    """Palette entry SHUFFLE[g] is grey g, so that an index read as a grey level shows."""
    image = Image.fromarray(SHUFFLE[PICTURE]).convert("P")
    image.putdata(SHUFFLE[PICTURE].ravel().tolist())
    image.putpalette(np.repeat(np.argsort(SHUFFLE).astype(np.uint8), 3).tobytes())
    return image


def tiff_bytes(pixels: npt.NDArray[Any], photometric: int, offset_type: int = 4) -> bytes:
    """An uncompressed one-strip TIFF; photometric 0: white is zero, 1: black is zero."""
    data, bits = pixels.tobytes(), 8 * pixels.itemsize
    height, width = pixels.shape
    short, long = 3, 4
    entries = [
        (256, short, width), (257, short, height), (258, short, bits), (259, short, 1),
        (262, short, photometric), (273, offset_type, 8), (277, short, 1), (278, short, height),
        (279, long, len(data)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    start = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return start + struct.pack("<H", len(entries)) + directory + struct.pack("<I", 0)


def difference(decoded: Grey, expected: Grey) -> int:
    return int(np.abs(decoded.astype(int) - expected.astype(int)).max())


grey = Image.fromarray(PICTURE)
deep = PICTURE.astype(np.uint16) * 257  # 255 * 257 = 65535

FORMATS: dict[str, tuple[Image.Image, str, dict[str, Any], int]] = {
    "grey JPEG": (grey, "a.jpg", {"quality": 95}, JPEG_TOLERANCE),
    "colour JPEG": (grey.convert("RGB"), "a.jpeg", {"quality": 95}, JPEG_TOLERANCE),
    "CMYK JPEG": (grey.convert("CMYK"), "a.jpg", {"quality": 95}, JPEG_TOLERANCE),
    "8-bit PNG": (grey, "a.png", {}, 0),
    "16-bit PNG": (Image.fromarray(deep), "a.png", {}, 0),
    "palette PNG": (palette_picture(), "a.png", {}, 0),
    "LA PNG": (grey.convert("LA"), "a.png", {}, 0),
    "opaque RGBA PNG": (grey.convert("RGBA"), "a.png", {}, 0),
    "RGB PNG": (grey.convert("RGB"), "a.png", {}, 0),
    "PNG named .jpg": (grey.convert("RGBA"), "a.jpg", {"format": "PNG"}, 0),
    "JPEG named .png": (grey, "a.png", {"format": "JPEG", "quality": 95}, JPEG_TOLERANCE),
    "grey BMP": (grey, "a.bmp", {}, 0),
    "RGB BMP": (grey.convert("RGB"), "a.bmp", {}, 0),
    "8-bit TIFF": (grey, "a.tif", {"compression": "tiff_lzw"}, 0),
    "16-bit TIFF": (Image.fromarray(deep), "a.tiff", {}, 0),
    "big-endian 16-bit TIFF": (Image.fromarray(deep.astype(">u2")), "a.tif", {}, 0),
    "16 bits in 32 TIFF": (Image.fromarray(deep.astype(np.int32)), "a.tif", {}, 0),
    "lossless WebP": (grey.convert("RGB"), "a.webp", {"lossless": True}, 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_picture_in_every_format_gives_the_same_grey(name: str, tmp_path: Path) -> None:
    image, file, options, tolerance = FORMATS[name]
    image.save(tmp_path / file, **options)
    decoded = decode(tmp_path / file, SIZE)
    assert decoded.shape == (SIZE, SIZE)
    assert decoded.dtype == np.uint8
    assert difference(decoded, PICTURE) <= tolerance


def test_one_bit_pictures_are_black_and_white(tmp_path: Path) -> None:
    two_tone: Grey = np.where(PICTURE > 90, 255, 0).astype(np.uint8)
    Image.fromarray(two_tone).convert("1").save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "1"
    assert difference(decode(tmp_path / "a.png", SIZE), two_tone) == 0


# How the camera held the picture: what is stored, when the tag asks the viewer to turn it back.
STORED: dict[int, Callable[[Grey], Grey]] = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda p: np.rot90(p, 1),  # shown turned 90 degrees clockwise
    7: lambda p: np.rot90(p, 2).T,
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PICTURE)))
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif)
    assert difference(decode(tmp_path / "a.jpg", SIZE), PICTURE) <= JPEG_TOLERANCE


def test_twelve_bits_in_sixteen_are_scaled_from_4095(tmp_path: Path) -> None:
    # 1000 * 255 / 4095 = 62.27, 2048 * 255 / 4095 = 127.53
    deep = np.array([[0, 1000], [2048, 4095]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 2).tolist() == [[0, 62], [128, 255]]


def test_one_value_above_4095_means_thirteen_bits_unless_white_is_given(tmp_path: Path) -> None:
    # 2**13 - 1 = 8191: 1000 * 255 / 8191 = 31.13, 2048 → 63.76, 4096 → 127.52
    deep = np.array([[0, 1000], [2048, 4096]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 2).tolist() == [[0, 31], [64, 128]]
    # 4096 * 255 / 65535 = 15.94; what is above white is white.
    assert decode(tmp_path / "a.png", 2, white=65535).tolist() == [[0, 4], [8, 16]]
    assert decode(tmp_path / "a.png", 2, white=1000).tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize("dtype", ["<u1", "<u2"])
def test_a_tiff_whose_white_is_zero_is_not_read_inverted(dtype: str, tmp_path: Path) -> None:
    highest = np.iinfo(dtype).max
    stored = np.array([[0, highest], [highest, highest]], dtype=dtype)
    (tmp_path / "a.tif").write_bytes(tiff_bytes(stored, photometric=0))
    assert decode(tmp_path / "a.tif", 2).tolist() == [[255, 0], [0, 0]]
    (tmp_path / "a.tif").write_bytes(tiff_bytes(stored, photometric=1))
    assert decode(tmp_path / "a.tif", 2).tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_lies_over_black(mode: str, tmp_path: Path) -> None:
    # White at alpha 255, 128 and 0 over black: 255 * 255/255 = 255, 255 * 128/255 = 128, 0.
    white = Image.new("L", (3, 3), 255).convert(mode)
    alpha = np.tile(np.array([255, 128, 0], dtype=np.uint8), (3, 1))
    white.putalpha(Image.fromarray(alpha))
    white.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 3).tolist() == [[255, 128, 0]] * 3


def test_a_transparent_palette_colour_is_black(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 200, 200, 250, 250, 250])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    assert decode(tmp_path / "a.png", 2).tolist() == [[200, 0]] * 2


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_colours_become_luma(mode: str, tmp_path: Path) -> None:
    # ITU-R 601: 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1,
    # yellow = red + green = 0.886 * 255 = 225.9
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    image = Image.new("RGB", (4, 1))
    image.putdata(colours)
    image.convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 4)[0].tolist() == [76, 150, 29, 226]


def test_cmyk_inks_darken(tmp_path: Path) -> None:
    # No ink is white; cyan ink leaves green and blue: (0.587 + 0.114) * 255 = 178.8; black is 0.
    image = Image.new("CMYK", (3, 1))
    image.putdata([(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)])
    image.save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif", 3)[0].tolist() == [255, 179, 0]


def test_the_first_of_several_frames_is_read(tmp_path: Path) -> None:
    second = Image.fromarray(255 - PICTURE)
    grey.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with Image.open(tmp_path / "a.tif") as image:
        assert getattr(image, "n_frames", 1) == 2
    assert difference(decode(tmp_path / "a.tif", SIZE), PICTURE) == 0


def test_an_oblong_image_fills_the_square(tmp_path: Path) -> None:
    halves = np.zeros((20, 80), dtype=np.uint8)
    halves[:, 40:] = 255
    Image.fromarray(halves).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png", 16)
    # 80 columns become 16, 5 each; the edge at column 40 is the edge between the 8th and the 9th,
    # which the filter (2.5 columns to either side and more) blurs.
    assert decoded[:, :7].max() == 0
    assert decoded[:, 9:].min() == 255


def test_decoding_a_large_jpeg_at_reduced_size_is_less_than_one_grey_level_off(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:1200, 0:1600]
    waves = 128 + 60 * np.sin(x / 40) * np.cos(y / 55) + rng.normal(0, 8, x.shape)
    large = Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8))
    large.save(tmp_path / "a.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as image:
        full = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR), dtype=float)
    error = np.abs(decode(tmp_path / "a.jpg", 256) - full).mean()
    assert 0 < error < 1  # 0 would mean that the quick way was not taken


def encoded(file: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format={"jpg": "JPEG"}.get(file, file.upper()))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_a_truncated_file_is_unreadable(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    whole = encoded(suffix)
    file.write_bytes(whole)
    decode(file, SIZE)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(file, SIZE)


DICOM = bytes(128) + b"DICM" + bytes(200)
UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.jpg", b"", "the file is empty"),
    "random bytes": (
        "a.png",
        np.random.default_rng(0).bytes(5000),
        "its content is no image format that Pillow knows",
    ),
    "text": ("a.jpg", b"path,label\n" * 30, "its content is no image format that Pillow knows"),
    "DICOM": ("a.dcm", DICOM, "DICOM without a picture"),
    "DICOM named .png": ("a.png", DICOM, "DICOM without a picture"),
    "DICOM without a preamble": ("a.dcm", bytes(300), "DICOM without a picture"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_image_is_unreadable_and_says_why(name: str, tmp_path: Path) -> None:
    file, content, reason = UNREADABLE[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=re.escape(reason)):
        decode(tmp_path / file, SIZE)


def test_a_damaged_header_is_unreadable_however_pillow_stumbles(tmp_path: Path) -> None:
    # The pixels' offset is of type 12, a double: Pillow 13.0 raises a TypeError.
    (tmp_path / "a.tif").write_bytes(tiff_bytes(PICTURE, photometric=1, offset_type=12))
    with pytest.raises(UnreadableImageError, match=r"\w+"):
        decode(tmp_path / "a.tif", SIZE)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((4, 4), 0.5, dtype=np.float32), "floating-point pixels"),
        (np.full((4, 4), 65536, dtype=np.int32), "32-bit pixels"),
        (np.full((4, 4), -1, dtype=np.int32), "32-bit pixels"),
    ],
)
def test_pixels_without_a_defined_range_are_unreadable(
    pixels: npt.NDArray[Any], reason: str, tmp_path: Path
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match=reason):
        decode(tmp_path / "a.tif", 4)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.JPG", b"not an image", True),  # the name promises one; decoding will say otherwise
        ("a.dcm", b"", True),
        ("a.txt", encoded("png"), False),
        ("a.zip", b"PK", False),
        ("no_suffix", encoded("png"), True),
        ("README", b"Images of 2022", False),
        ("film.jfif", b"", True),
        ("film.jp2", b"", True),
        ("film.PGM", b"", True),
        ("film.v2.final", encoded("png"), True),
        ("2022.01.31", encoded("jpg"), True),
        ("film.xyz", encoded("bmp"), True),
        ("1.2.840.113619.2.30.1.1762295590.1623.123", DICOM, True),
        ("IM0001.0", b"\x08\0\5\0\x0a\0\0\0ISO_IR 100" + bytes(200), True),  # no preamble
        ("1.2.840.10008", b"a list of names", False),
        ("empty.123", b"", False),
        ("table.csv", encoded("png"), False),
        ("Thumbs.db", encoded("jpg"), False),
    ],
)
def test_names_promise_images_and_without_a_suffix_the_content_does(
    name: str, content: bytes, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert looks_like_image(tmp_path / name) is expected
