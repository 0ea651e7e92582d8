"""The null ladder: what rungs are, that they are computed once, and their time limit."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from small_runs import FOLDERS

from cxr_lightning.audit import ladder, sights
from cxr_lightning.audit.ladder import Films, climb, films_of, ladder_of
from cxr_lightning.audit.regression import Regression
from cxr_lightning.audit.rungs import NAMES
from cxr_lightning.config import DataConfig, SplitConfig
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.data.store import Pixels


@pytest.fixture
def films(
    tmp_path: Path,
    write_images: Callable[..., list[str]],
    kaggle_config: Callable[..., DataConfig],
) -> Films:
    folders = {f"train/{name}": 6 + 3 * i for i, name in enumerate(FOLDERS)}
    write_images(tmp_path / "set", folders | {f"test/{name}": 4 for name in FOLDERS})
    split = SplitConfig(name="official", val_fraction=0)
    datamodule = XrayDataModule(kaggle_config(tmp_path / "set"), split)
    datamodule.setup()
    return films_of(datamodule)


def pixels(tmp_path: Path, *images: np.ndarray) -> Pixels:
    file = tmp_path / "pixels.u8"
    file.write_bytes(np.stack(images).astype(np.uint8).tobytes())
    return Pixels(file, sights.SIZE_PX, np.arange(len(images)), "key")


def test_nothing_says_the_shares_of_the_training_films(films: Films) -> None:
    nothing = climb(films, 5)[0]
    assert nothing.key == "nothing" and nothing.strength is None
    expected = np.array([6, 9, 12, 15]) / 42
    np.testing.assert_allclose(nothing.probabilities, np.tile(expected, (16, 1)))


def test_every_rung_says_something_of_every_test_film(films: Films) -> None:
    rungs = climb(films, 5)
    assert [rung.key for rung in rungs] == list(NAMES)
    for rung in rungs:
        np.testing.assert_allclose(rung.probabilities.sum(axis=1), 1)
        assert rung.probabilities.shape == (16, 4)


def test_a_ladder_is_computed_once_and_again_where_a_film_changes(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = climb(films, 5)

    def never(*given: object) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(Regression, "fitted", never)
        again = climb(films, 5)
    for one, other in zip(first, again, strict=True):
        assert one.strength == other.strength
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    film = films.root / films.paths()[0]
    film.write_bytes(film.read_bytes() + b" ")
    monkeypatch.setattr(Regression, "fitted", never)
    with pytest.raises(AssertionError, match="computed again"):
        climb(films, 5)


def test_what_does_not_fit_into_the_time_is_left_out_and_found_the_next_time(
    films: Films, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    slow = sights.histogram

    def histogram(given: Pixels) -> np.ndarray:
        now[0] += 400  # seconds
        return slow(given)

    monkeypatch.setattr(sights, "histogram", histogram)
    assert [rung.key for rung in climb(films, 5)] == ["nothing", "facts"]
    assert "Out of time (ladder_minutes=5): grey levels, 16×16 thumbnail" in capsys.readouterr().err
    monkeypatch.setattr(sights, "histogram", slow)
    assert [rung.key for rung in climb(films, 5)] == list(NAMES)


def test_two_processes_do_not_compute_it_twice(
    films: Films, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = films.cache_dir / "ladders"
    folder.mkdir(parents=True)
    with FileLock(folder / f"{ladder._key(films)}.lock"):
        assert climb(films, 0.01) == []
    assert "Another process still computes it" in capsys.readouterr().err
    assert len(climb(films, 5)) == 6


def test_only_the_films_that_were_tested_are_compared(
    films: Films, kaggle_config: Callable[..., DataConfig]
) -> None:
    split = SplitConfig(name="official", val_fraction=0)
    datamodule = XrayDataModule(kaggle_config(films.root), split)
    datamodule.setup()
    rows = datamodule.rows("test")[[1, 5]]
    found = ladder_of(datamodule, 5, 100, rows)
    assert found.tests["path"].tolist() == datamodule.table["path"].iloc[rows].tolist()
    whole = ladder_of(datamodule, 5, 100)
    for part, all_ in zip(found.rungs, whole.rungs, strict=True):
        np.testing.assert_array_equal(part.probabilities, all_.probabilities[[1, 5]])


def test_of_very_many_films_some_are_fitted_on(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "MOST_FILMS", 10)
    assert len(films.fitted) == 10 and set(films.fitted) <= set(films.train)
    assert len(films.paths()) == 10 + 16


def test_the_border_does_not_see_the_centre(tmp_path: Path) -> None:
    size, edge = sights.SIZE_PX, sights.EDGE
    black, centre, tagged = (np.zeros((size, size)) for _ in range(3))
    centre[edge:-edge, edge:-edge] = 255
    tagged[2:6, 2:6] = 255
    seen = sights.border(pixels(tmp_path, black, centre, tagged))
    assert seen.shape == (3, 128)
    np.testing.assert_array_equal(seen[0], seen[1])
    # The corner belongs to the top and to the left: mean, spread and brightest of both change.
    assert np.count_nonzero(seen[2]) == 2 * 3
    mean = 16 / (12 * 16)
    assert sorted(set(np.round(seen[2], 4))) == sorted(
        {0, round(mean, 4), round((mean * (1 - mean)) ** 0.5, 4), 1}
    )


def test_grey_levels_and_thumbnail_by_hand(tmp_path: Path) -> None:
    size = sights.SIZE_PX
    image = np.zeros((size, size))
    image[: size // 4] = 255
    seen = sights.histogram(pixels(tmp_path, image))
    assert seen[0, 0] == pytest.approx(0.75**0.5) and seen[0, -1] == pytest.approx(0.5)
    assert np.count_nonzero(seen) == 2
    small = sights.thumbnail(pixels(tmp_path, image)).reshape(16, 16)
    assert (small[:4] == 1).all() and (small[4:] == 0).all()
