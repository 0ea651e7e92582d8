"""What is white in 16-bit images: one value for a whole set, from what files state or hold."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cxr_lightning.data import decode as decoding
from cxr_lightning.data.decode import decode, looks_like_image, white_of
from cxr_lightning.data.store import open_store, whites_of
from cxr_lightning.data.unlabelled import FileDataset

SIZE = 4


def write(file: Path, *values: int) -> Path:
    """A 4 × 4 image of 16 bits: these grey levels, then black."""
    pixels = np.zeros(SIZE * SIZE, dtype=np.uint16)
    pixels[: len(values)] = values
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.reshape(SIZE, SIZE)).save(file)
    return file


def state_bits(file: Path, bits: int) -> Path:
    """Put the chunk sBIT behind a PNG's header, which is 33 bytes long with the signature."""
    content, chunk = file.read_bytes(), b"sBIT" + bytes([bits])
    whole = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    file.write_bytes(content[:33] + whole + content[33:])
    return file


def first_row(pixels: npt.NDArray[np.uint8]) -> list[int]:
    return [int(value) for value in pixels[0]]


@pytest.mark.parametrize("bits", [8, 10, 11, 12, 14, 16])
def test_a_set_has_the_full_range_of_the_bits_it_uses(bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    # The brightest pixel of all is a little below the top; a quarter of it is 64 of 255.
    write(tmp_path / "a.png", top - 1, top // 4, 0)
    write(tmp_path / "dark.png", top // 8)
    pixels, _ = open_store(tmp_path / "cache", tmp_path, ["a.png", "dark.png"], SIZE)
    assert pixels.white == top
    assert pixels[0].max() == round((top - 1) * 255 / top)
    assert first_row(pixels[0])[1] == round((top // 4) * 255 / top)
    # The dark film stays dark beside the other one: an eighth of 255.
    assert pixels[1].max() == round((top // 8) * 255 / top)


def test_two_films_of_a_set_keep_their_relative_brightness(tmp_path: Path) -> None:
    # Each alone: 4000 of 4095 → 249 and 4100 of 8191 → 128, the brighter one darker.
    one, other = write(tmp_path / "a.png", 4000), write(tmp_path / "b.tif", 4100)
    assert [decode(file, SIZE).max() for file in (one, other)] == [249, 128]
    white = max(whites_of([one, other]))
    assert white == 8191
    # 4000 * 255 / 8191 = 124.5, 4100 * 255 / 8191 = 127.6
    assert [decode(file, SIZE, white).max() for file in (one, other)] == [125, 128]


def test_eight_bit_sets_have_no_white_and_their_pixels_do_not_depend_on_it(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for file in files:
        Image.new("L", (SIZE, SIZE), 100).save(file)
    (tmp_path / "c.png").write_bytes(b"no image")
    assert whites_of([*files, tmp_path / "c.png", tmp_path / "lost.png"]) == [0] * 4
    assert open_store(tmp_path / "cache", tmp_path, ["a.png", "b.jpg"], SIZE)[0].white is None
    assert decode(files[0], SIZE, 1023).tolist() == decode(files[0], SIZE).tolist()
    assert whites_of([*files, write(tmp_path / "d.png", 900)]) == [0, 0, 1023]


def test_the_bits_that_a_png_states_count(tmp_path: Path) -> None:
    # 900 of 16383: 14 bits are stated, whatever the film uses of them. 900 * 255 / 16383 = 14.0
    file = state_bits(write(tmp_path / "a.png", 900), 14)
    assert white_of(file) == 16383
    assert decode(file, SIZE).max() == 14
    # By PNG's specification 12 bits are stretched to 16: 4095 becomes 65535.
    assert white_of(state_bits(write(tmp_path / "b.png", 65535, 100), 12)) == 65535


def test_the_largest_value_that_a_tiff_states_counts_and_a_wrong_one_does_not(
    tmp_path: Path,
) -> None:
    def tiff(name: str, value: int, stated: int) -> Path:
        pixels = np.full((SIZE, SIZE), value, dtype=np.uint16)
        Image.fromarray(pixels).save(tmp_path / name, tiffinfo={281: stated})
        return tmp_path / name

    # 500 * 255 / 1000 = 127.5
    file = tiff("a.tif", 500, 1000)
    assert white_of(file) == 1000
    assert decode(file, SIZE).max() == 128
    assert white_of(tiff("b.tif", 500, 400)) == 511


def test_a_tiff_of_twelve_packed_bits_is_read_at_their_range(tmp_path: Path) -> None:
    # Two values of 12 bits in three bytes, 16 values in 24: 0x800 = 2048, 0xFFF = 4095, …
    data = bytes([0x80, 0x0F, 0xFF] * 8)
    entries = [(256, 3, 4), (257, 3, 4), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8),
               (277, 3, 1), (278, 3, 4), (279, 4, 24)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    file = tmp_path / "a.tif"
    file.write_bytes(b"II*\0" + struct.pack("<I", 32) + data + struct.pack("<H", 9) + directory
                     + bytes(4))  # fmt: skip
    assert white_of(file) == 4095
    # 2048 * 255 / 4095 = 127.5
    assert first_row(decode(file, SIZE)) == [128, 255, 128, 255]


@pytest.mark.parametrize(("maxval", "value"), [(1023, 512), (4095, 2048), (16383, 8192)])
def test_a_pgm_states_its_range(maxval: int, value: int, tmp_path: Path) -> None:
    pixels = np.full((SIZE, SIZE), value, dtype=">u2")
    header = f"P5 {SIZE} {SIZE} {maxval}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + pixels.tobytes())
    # Pillow scales it, so no other film's range matters, nor is the set's changed by it.
    assert decode(tmp_path / "a.pgm", SIZE, white=4095).max() == 128
    assert whites_of([tmp_path / "a.pgm"]) == [0]


def test_a_jpeg_2000_of_sixteen_bits_is_read_at_full_range(tmp_path: Path) -> None:
    deep = np.full((64, 64), 32768, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.jp2")
    assert decode(tmp_path / "a.jp2", 64, white=4095).max() == 128


def test_white_is_zero_keeps_the_range_of_the_set(tmp_path: Path) -> None:
    pixels = np.array([[0, 1023], [512, 1023]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={262: 0})
    # 255 - 0, 255 - 255, 255 - round(512 * 255 / 1023 = 127.6)
    assert decode(tmp_path / "a.tif", 2, 1023).tolist() == [[255, 0], [127, 0]]


def test_the_value_of_white_can_be_given_and_is_in_the_key(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1000)
    found, _ = open_store(tmp_path / "cache", tmp_path, ["a.png"], SIZE)
    given, _ = open_store(tmp_path / "cache", tmp_path, ["a.png"], SIZE, white=2000)
    same, _ = open_store(tmp_path / "cache", tmp_path, ["a.png"], SIZE, white=1023)
    # 1000 * 255 / 1023 = 249.3, 1000 * 255 / 2000 = 127.5
    assert [p.white for p in (found, given, same)] == [1023, 2000, 1023]
    assert [p[0].max() for p in (found, given, same)] == [249, 128, 249]
    assert found.key == same.key != given.key
    assert found.take(np.array([0])).white == 1023


def test_a_brighter_film_that_is_added_changes_the_whole_set(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1000)
    before, _ = open_store(tmp_path / "cache", tmp_path, ["a.png"], SIZE)
    write(tmp_path / "b.png", 3000)
    after, _ = open_store(tmp_path / "cache", tmp_path, ["a.png", "b.png"], SIZE)
    # 1000 * 255 / 4095 = 62.3
    assert (before[0].max(), after[0].max()) == (249, 62)
    assert open_store(tmp_path / "cache", tmp_path, ["a.png"], SIZE)[0].key == before.key


def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def recording(file: Path) -> int:
        looked.append(file.name)
        return white_of(file)

    monkeypatch.setattr(decoding, "white_of", recording)
    write(tmp_path / "a.png", 1000)
    Image.new("L", (SIZE, SIZE)).save(tmp_path / "b.png")
    for _ in range(2):
        assert open_store(tmp_path / "cache", tmp_path, ["a.png", "b.png"], SIZE)[0].white == 1023
    assert sorted(looked) == ["a.png", "b.png"]
    write(tmp_path / "a.png", 5000)
    assert open_store(tmp_path / "cache", tmp_path, ["a.png", "b.png"], SIZE)[0].white == 8191
    assert looked[2:] == ["a.png"]


def test_prediction_reads_at_the_range_of_the_training_else_of_its_own_images(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.png", 1000)
    write(tmp_path / "b.png", 3000)

    def brightest(paths: list[str], white: int | None = None) -> list[int]:
        dataset = FileDataset(tmp_path, paths, SIZE, white)
        return [int(dataset[row].image.max()) for row in range(len(paths))]

    # Of 16383: 15.6 and 46.7. Of their own 4095: 62.3 and 186.8.
    assert brightest(["a.png", "b.png"], 16383) == [16, 47]
    assert brightest(["a.png"], 16383) == [16]
    assert brightest(["a.png", "b.png"]) == [62, 187]


def test_32_bit_pixels_do_not_set_the_range_and_are_unreadable(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1000)
    wide: Any = np.full((SIZE, SIZE), 70000, dtype=np.int32)
    Image.fromarray(wide).save(tmp_path / "b.tif")
    pixels, unreadable = open_store(tmp_path / "cache", tmp_path, ["a.png", "b.tif"], SIZE)
    assert pixels.white == 1023
    assert list(unreadable) == ["b.tif"]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("b.hdf", b"\x89HDF\r\n\x1a\n"),
        ("c.mpg", b"\x00\x00\x01\xb3\x01\x00\x10"),
        ("d.tga", bytes([0, 0, 3, *[0] * 9, 4, 0, 4, 0, 8, 0])),
        ("e.bin", np.random.default_rng(0).bytes(64)),
    ],
)
def test_formats_that_only_guess_or_start_programs_are_not_opened(
    name: str, start: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(start + bytes(200))
    assert not looks_like_image(tmp_path / name)
