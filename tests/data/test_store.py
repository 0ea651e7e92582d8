"""Every file is decoded once in its life, whoever asks, whatever interrupts."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_lightning.data import decode
from cxr_lightning.data.store import Pixels, open_store

SIZE = 16
WriteImages = Callable[..., list[str]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    real = decode.decode

    def recording(path: Path, size_px: int, *how: object) -> np.ndarray:
        pixels = real(path, size_px, *how)
        names.append(path.name)
        return pixels

    monkeypatch.setattr(decode, "decode", recording)
    return names


def names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def assert_holds(pixels: Pixels, root: Path, paths: list[str]) -> None:
    assert len(pixels) == len(paths)
    for position, path in enumerate(paths):
        with Image.open(root / path) as image:
            expected = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(pixels[position], expected)


def test_pixels_are_those_of_the_files_in_the_order_asked_for(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 3, "b": 2})
    pixels, unreadable = open_store(tmp_path / "cache", root, paths, SIZE)
    assert unreadable == {}
    assert pixels[0].dtype == np.uint8
    assert_holds(pixels, root, paths)
    backwards, _ = open_store(tmp_path / "cache", root, paths[::-1], SIZE)
    assert_holds(backwards, root, paths[::-1])
    assert_holds(pixels.take(np.array([3, 0])), root, [paths[3], paths[0]])


def test_a_second_call_decodes_nothing(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 5})
    first, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert sorted(decoded) == names(paths)
    decoded.clear()
    second, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert decoded == []
    assert second.key == first.key
    assert_holds(second, root, paths)


def test_only_added_images_are_decoded(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    old = write_images(root, {"b": 3})
    open_store(tmp_path / "cache", root, old, SIZE)
    decoded.clear()
    paths = sorted(old + write_images(root, {"a": 1, "c": 1}))
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert sorted(decoded) == ["a(000).png", "c(000).png"]
    assert_holds(pixels, root, paths)


def test_a_changed_file_is_decoded_again(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 3})
    before, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    decoded.clear()
    Image.new("L", (32, 32), 99).save(root / paths[1])
    after, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert decoded == [Path(paths[1]).name]
    assert after[1].tolist() == [[99] * SIZE] * SIZE
    assert_holds(after, root, paths)
    assert after.key != before.key


def test_a_file_of_the_same_length_but_another_time_is_decoded_again(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 2})
    before, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    decoded.clear()
    stat = (root / paths[0]).stat()
    os.utime(root / paths[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert decoded == [Path(paths[0]).name]
    assert after.key != before.key


def test_another_size_or_folder_is_another_store(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    paths = write_images(tmp_path / "here/images", {"a": 2})
    write_images(tmp_path / "there/images", {"a": 2})
    # As an archive unpacks it: the same names, bytes and times in two places.
    for path in paths:
        os.utime(tmp_path / "here/images" / path, ns=(1, 1))
        os.utime(tmp_path / "there/images" / path, ns=(1, 1))
    for root, size in (("here/images", 16), ("here/images", 24), ("there/images", 16)):
        pixels, _ = open_store(tmp_path / "cache", tmp_path / root, paths, size)
        assert pixels[1].shape == (size, size)
    assert len(decoded) == 3 * 2


def test_the_key_is_of_the_images_and_their_order(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    paths = write_images(root, {"a": 3})
    key = open_store(cache, root, paths, SIZE)[0].key
    assert open_store(tmp_path / "elsewhere", root, paths, SIZE)[0].key == key
    others = {
        open_store(cache, root, paths[:2], SIZE)[0].key,
        open_store(cache, root, paths[::-1], SIZE)[0].key,
        open_store(cache, root, paths, SIZE + 1)[0].key,
    }
    assert len(others | {key}) == 4


def test_unreadable_files_are_returned_with_reasons_and_the_others_kept(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    good = write_images(root, {"a": 3})
    (root / "a/b.png").write_bytes(b"no image")
    (root / "a/c.jpg").touch()
    (root / "a/d.png").symlink_to(tmp_path / "nowhere")
    paths = ["a/c.jpg", good[0], "a/b.png", good[1], "a/d.png", good[2]]
    reasons = {
        "a/b.png": "its content is no image format that Pillow knows",
        "a/c.jpg": "the file is empty",
        "a/d.png": "No such file or directory",
    }
    for _ in range(2):  # also when the readable ones are already there
        pixels, unreadable = open_store(tmp_path / "cache", root, paths, SIZE)
        assert unreadable == reasons
        assert_holds(pixels, root, good)
    assert sorted(decoded) == names(good)


def test_a_folder_of_unreadable_files_gives_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    for paths in (["a.png"], ["a.png"], ["lost.png"]):
        pixels, unreadable = open_store(tmp_path / "cache", tmp_path, paths, SIZE)
        assert len(pixels) == 0
        assert list(unreadable) == paths


def test_an_interrupt_keeps_what_was_decoded(
    write_images: WriteImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 10})
    real = decode.decode
    stop_at: str | None = "a(006).png"
    calls: list[str] = []

    def until_interrupted(path: Path, size_px: int, *how: object) -> np.ndarray:
        if path.name == stop_at:
            raise KeyboardInterrupt
        calls.append(path.name)
        return real(path, size_px, *how)

    monkeypatch.setattr(decode, "decode", until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path / "cache", root, paths, SIZE)
    stop_at = None
    calls.clear()
    pixels, unreadable = open_store(tmp_path / "cache", root, paths, SIZE)
    # Results are written in order: 0 to 5 were, 6 to 9 are left.
    assert sorted(calls) == [f"a(00{i}).png" for i in (6, 7, 8, 9)]
    assert unreadable == {}
    assert_holds(pixels, root, paths)


def test_the_unfinished_tail_of_a_killed_build_does_no_harm(
    write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 2})
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    with pixels.file.open("ab") as file:  # two images and a half that rows.csv knows nothing of
        file.write(bytes([7]) * (2 * SIZE**2 + 100))
    assert_holds(open_store(tmp_path / "cache", root, paths, SIZE)[0], root, paths)
    decoded.clear()
    more = paths + write_images(root, {"b": 1})
    pixels, _ = open_store(tmp_path / "cache", root, more, SIZE)
    assert decoded == ["b(000).png"]
    assert_holds(pixels, root, more)


@pytest.mark.parametrize("left", [0, 2 * SIZE**2 + 100])
def test_lost_pixels_are_decoded_again(
    left: int, write_images: WriteImages, tmp_path: Path, decoded: list[str]
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 4})
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    os.truncate(pixels.file, left)
    decoded.clear()
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert sorted(decoded) == names(paths)[left // SIZE**2 :]
    assert_holds(pixels, root, paths)


def test_a_deleted_pixel_file_is_written_anew(write_images: WriteImages, tmp_path: Path) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 3})
    open_store(tmp_path / "cache", root, paths, SIZE)[0].file.unlink()
    assert_holds(open_store(tmp_path / "cache", root, paths, SIZE)[0], root, paths)


def test_pickled_pixels_are_a_path_and_numbers(write_images: WriteImages, tmp_path: Path) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 20})
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    assert_holds(pixels, root, paths)  # the map is open now
    pickled = pickle.dumps(pixels)
    # 20 images of 16 * 16 bytes would be 5120; 20 row numbers of 8 bytes and a path are not.
    assert len(pickled) < 1000
    assert_holds(pickle.loads(pickled), root, paths)


def test_what_is_read_can_be_changed_without_changing_the_store(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 1})
    pixels, _ = open_store(tmp_path / "cache", root, paths, SIZE)
    pixels[0][:] = 0
    assert_holds(pixels, root, paths)


BUILDER = """
import json, sys, time
from pathlib import Path
from cxr_lightning.data import decode
from cxr_lightning.data.store import open_store

cache, root, own, *paths = sys.argv[1:]
real, calls = decode.decode, []

def slow(path, size_px, *how):
    calls.append(path.name)
    time.sleep(0.02)  # long enough for the other process to want the same files
    return real(path, size_px, *how)

decode.decode = slow
Path(own + ".ready").touch()
while not (Path(own).parent / "go").exists():
    time.sleep(0.005)
pixels, unreadable = open_store(Path(cache), Path(root), paths, 16)
images = [pixels[i].tolist() for i in range(len(pixels))]
Path(own).write_text(json.dumps({"calls": calls, "key": pixels.key, "images": images}))
"""


def test_two_processes_at_once_decode_each_file_once(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    paths = write_images(root, {"a": 20})
    results = [tmp_path / "one.json", tmp_path / "two.json"]
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path / "cache"), str(root), str(own), *paths],
            stderr=subprocess.DEVNULL,
        )
        for own in results
    ]
    while not all(Path(f"{own}.ready").exists() for own in results):
        assert all(builder.poll() is None for builder in builders), "a builder died early"
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [builder.wait(timeout=60) for builder in builders] == [0, 0]
    one, two = (json.loads(own.read_text()) for own in results)
    assert sorted(one["calls"] + two["calls"]) == names(paths)
    assert one["key"] == two["key"]
    assert one["images"] == two["images"]
    assert_holds(open_store(tmp_path / "cache", root, paths, SIZE)[0], root, paths)
