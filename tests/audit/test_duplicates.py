"""Copies among many films, by hash and correlation, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_lightning.audit import duplicates
from cxr_lightning.audit.duplicates import near_pairs
from cxr_lightning.data.phantom import CLASSES, draw_patient, expose
from cxr_lightning.data.store import Pixels

SIZE_PX = 128


def film(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    drawn = expose(draw_patient(CLASSES[number % 4], rng), rng)
    return np.asarray(Image.fromarray(drawn).resize((SIZE_PX, SIZE_PX)))


def stored(tmp_path: Path, images: list[np.ndarray]) -> Pixels:
    file = tmp_path / "pixels.u8"
    file.write_bytes(np.stack(images).tobytes())
    return Pixels(file, SIZE_PX, np.arange(len(images)), "key")


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    return [film(number) for number in range(40)]


def test_different_films_are_no_copies(films: list[np.ndarray], tmp_path: Path) -> None:
    assert near_pairs(stored(tmp_path, films)) == []


@pytest.mark.parametrize("block", [7, 512])  # pairs across blocks, and within one
def test_changed_copies_are_found(
    block: int, films: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    image = Image.fromarray(films[3])
    smaller = image.resize((60, 60)).resize((SIZE_PX, SIZE_PX))
    darker = np.clip(films[9].astype(int) * 0.8 - 5, 0, 255).astype(np.uint8)
    noisy = films[20] + np.random.default_rng(0).integers(0, 6, films[20].shape)
    copies = [np.asarray(smaller), darker, np.clip(noisy, 0, 255).astype(np.uint8)]
    found = near_pairs(stored(tmp_path, [*films, *copies]))
    assert sorted(found) == [(3, 40), (9, 41), (20, 42)]


def test_a_thousand_equal_films_need_a_thousand_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "AT_ONCE", 500)
    found = near_pairs(stored(tmp_path, [film(1)] * 1000))
    assert len(found) < 2000
    reached = {0}
    for one, other in sorted(found):
        if one in reached:
            reached.add(other)
    assert len(reached) == 1000
