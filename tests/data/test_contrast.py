"""Contrast normalisation: the pixels by hand, and a store for each."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_lightning.data.contrast import check_available, normalised
from cxr_lightning.data.decode import decode
from cxr_lightning.data.store import open_store
from cxr_lightning.errors import ConfigError


def ramp() -> Image.Image:
    """Every grey level from 50 to 149 in 100 pixels each."""
    return Image.fromarray(np.repeat(np.arange(50, 150, dtype=np.uint8), 100).reshape(100, 100))


def test_stretch_takes_the_first_and_the_last_percentile_to_black_and_white() -> None:
    pixels = normalised(ramp(), "stretch")
    # One level in a hundred is cut off at each end: 51 becomes 0, 148 becomes 255, 100 is between.
    assert pixels[0, 0] == pixels[1, 0] == 0
    assert pixels[98, 0] == pixels[99, 0] == 255
    assert pixels[50, 0] == pytest.approx((100 - 51) * 255 / (148 - 51), abs=1)


def test_a_film_of_another_exposure_becomes_the_same() -> None:
    values = np.random.default_rng(0).normal(120, 25, (64, 64)).clip(40, 200)
    film = Image.fromarray(values.astype(np.uint8))
    darker = Image.fromarray((values * 0.6 + 10).astype(np.uint8))
    for how, off in (("stretch", 3), ("equalize", 3), ("clahe", 20)):
        mean = np.abs(normalised(film, how).astype(int) - normalised(darker, how)).mean()
        assert mean < off, how
    assert np.abs(normalised(film, "none").astype(int) - normalised(darker, "none")).mean() > 30


def test_equalized_levels_are_equally_frequent() -> None:
    skewed = (np.linspace(0, 1, 4096) ** 3 * 255).astype(np.uint8).reshape(64, 64)
    quarters = np.histogram(normalised(Image.fromarray(skewed), "equalize"), [0, 64, 128, 192, 256])
    shares = quarters[0] / 4096
    assert shares == pytest.approx([0.25] * 4, abs=0.12)


def test_clahe_spreads_the_levels_of_a_dull_part() -> None:
    dull = np.full((64, 64), 100, dtype=np.uint8)
    dull[:, :32] += np.tile(np.arange(8, dtype=np.uint8), (64, 4))
    spread = normalised(Image.fromarray(dull), "clahe")[:, :32]
    assert np.ptp(spread) > 3 * np.ptp(dull[:, :32])


def test_a_film_of_one_grey_stays_an_image() -> None:
    flat = Image.fromarray(np.full((32, 32), 77, dtype=np.uint8))
    for how in ("none", "stretch", "equalize", "clahe"):
        assert normalised(flat, how).shape == (32, 32)


def test_without_opencv_clahe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    check_available("stretch")
    with pytest.raises(ConfigError, match=r"pip install 'cxr-lightning\[clahe\]'"):
        check_available("clahe")


def test_each_contrast_has_a_store_of_its_own(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png")
    stores = {}
    for how in ("none", "stretch", "equalize"):
        pixels, unreadable = open_store(tmp_path / "cache", tmp_path, ["a.png"], 100, contrast=how)
        assert not unreadable
        assert np.array_equal(pixels[0], decode(tmp_path / "a.png", 100, None, how))
        stores[how] = (pixels.file, pixels.key, pixels[0].tobytes())
    for column in zip(*stores.values(), strict=True):
        assert len(set(column)) == 3
