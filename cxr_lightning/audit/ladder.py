"""The null ladder: how well the class is told by what is not the disease.

Each rung is a logistic regression on one thing that is seen of a film (`sights`): its file, its
grey levels, a thumbnail, its border, or the features of a network that was never trained. Rung 0
sees nothing. All are fitted on the training films of a split and tested on its test films, so that
they can be compared with a trained network, film by film. A network that does not stand clearly
above the ladder may have learnt where films come from instead of what they show.

Sources: Maguolo & Nanni, Information Fusion 76 (2021) 1, who told the archives apart with the lungs
blacked out; DeGrave, Janizek & Lee, Nature Machine Intelligence 3 (2021) 610; Zech et al., PLoS
Medicine 15 (2018) e1002683.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console

from cxr_lightning.audit import sights
from cxr_lightning.audit.regression import Regression
from cxr_lightning.audit.rungs import NAMES, Rung
from cxr_lightning.contrasts import Interval, accuracy_difference
from cxr_lightning.data.known_files import digest
from cxr_lightning.data.store import Pixels
from cxr_lightning.metrics import Estimate, Floats, Ints, estimate

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule

VERSION = 2  # part of the cache's key
MOST_FILMS = 20_000  # to fit on; of more, so many are drawn


class TimeIsOver(Exception):  # noqa: N818 (not an error)
    """The ladder has taken as long as it may."""


@dataclass(frozen=True)
class Films:
    """What a ladder is fitted and tested on: rows of a table, and where its files are."""

    table: pd.DataFrame
    train: Ints
    test: Ints
    n_classes: int
    root: Path
    cache_dir: Path
    white: int | None

    @cached_property
    def fitted(self) -> Ints:
        """The training films that are fitted on: all, or as many as are enough."""
        if len(self.train) <= MOST_FILMS:
            return self.train
        drawn = np.random.default_rng(0).choice(self.train, MOST_FILMS, replace=False)
        return np.sort(drawn)

    def labels(self, rows: Ints) -> Ints:
        """The class of each, (n,)."""
        return self.table["label"].to_numpy(dtype=np.int64)[rows]

    def paths(self) -> list[str]:
        """Those to fit on, then those to test."""
        return list(self.table["path"].iloc[np.concatenate([self.fitted, self.test])])


def films_of(datamodule: "XrayDataModule") -> Films:
    """The films of a split, as `setup` has left them."""
    return Films(
        table=datamodule.table,
        train=datamodule.rows("train"),
        test=datamodule.rows(datamodule.tested_split),
        n_classes=len(datamodule.classes),
        root=datamodule.index.root,
        cache_dir=datamodule.data.cache_dir,
        white=datamodule.pixels.white,
    )


def climb(films: Films, minutes: float) -> list[Rung]:
    """Every rung, from the cache or computed; those that do not fit into `minutes` are left out."""
    end = time.monotonic() + 60 * minutes

    def watch() -> None:
        if time.monotonic() > end:
            raise TimeIsOver

    folder = films.cache_dir / "ladders"
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(films)
    lock = FileLock(folder / f"{key}.lock")
    try:
        lock.acquire(timeout=max(1.0, 60 * minutes))
    except Timeout:
        where = f"Another process still computes it ({folder / key}.lock)"
        Console(stderr=True).print(f"How good is nothing? {where}.", markup=False, highlight=False)
        return []
    try:
        rungs = [_read(folder / f"{key}-{name}.npz", name) for name in NAMES]
        if None not in rungs:
            return [rung for rung in rungs if rung is not None]
        found = []
        what = f"How good is nothing? Looking, once per split, for at most {minutes:g} minutes …"
        Console(stderr=True).print(what, highlight=False)
        try:
            for rung in _computed(films, watch, dict(zip(NAMES, rungs, strict=True))):
                _write(folder / f"{key}-{rung.key}.npz", rung)
                found.append(rung)
        except TimeIsOver:
            missing = ", ".join(list(NAMES.values())[len(found) :])
            Console(stderr=True).print(f"Out of time (ladder_minutes={minutes:g}): {missing}.")
        return found
    finally:
        lock.release()


def _computed(
    films: Films, watch: Callable[[], None], known: dict[str, Rung | None]
) -> Iterator[Rung]:
    """Those that are not known, as they get ready; and those that are."""
    n_fitted, opened = len(films.fitted), dict[str, Pixels]()

    def pixels() -> Pixels:
        if not opened:
            opened["all"] = sights.pixels_of(
                films.cache_dir, films.root, films.paths(), films.white, watch
            )
        return opened["all"]

    seen: dict[str, Callable[[], npt.NDArray[np.float32]]] = {
        "facts": lambda: sights.facts(films.cache_dir, films.root, films.paths()),
        "histogram": lambda: sights.histogram(pixels()),
        "thumbnail": lambda: sights.thumbnail(pixels()),
        "border": lambda: sights.border(pixels()),
        "untrained": lambda: sights.untrained(pixels(), films.cache_dir, watch),
    }
    labels = films.labels(films.fitted)
    for key in NAMES:
        started = time.monotonic()
        if (there := known[key]) is not None:
            yield there
            continue
        strength = None
        if key == "nothing":
            shares = np.bincount(labels, minlength=films.n_classes) / len(labels)
            probabilities = np.tile(shares, (len(films.test), 1))
        else:
            watch()
            x, groups = seen[key](), films.table["group"].to_numpy()[films.fitted]
            regression = Regression(x[:n_fitted], labels, in_bins=key == "facts")
            strength, _ = regression.best_strength(groups, watch)
            model = regression.fitted(np.arange(n_fitted), strength)
            probabilities = np.zeros((len(films.test), films.n_classes))
            probabilities[:, model.classes_] = model.predict_proba(x[n_fitted:])
        yield Rung(key, probabilities, strength, time.monotonic() - started)


@dataclass(frozen=True)
class Ladder:
    """The rungs on the tested films of a run. rungs: in the order of `NAMES`, maybe not all."""

    rungs: list[Rung]
    tests: pd.DataFrame  # path, group, label (an integer)
    classes: list[str]
    n_resamples: int

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Each rung's metrics with their intervals, by its key."""
        labels, groups = self.tests["label"].to_numpy(), list(self.tests["group"])
        return {
            rung.key: estimate(
                labels, rung.probabilities, self.classes, groups, n_resamples=self.n_resamples
            )
            for rung in self.rungs
        }

    @property
    def highest(self) -> Rung:
        """The rung with the highest accuracy."""
        return max(self.rungs, key=lambda rung: self.estimates[rung.key]["accuracy"].value or 0.0)

    def above(self, rung: Rung, probabilities: Floats) -> Interval:
        """How much more accurate these predictions (n, C) are than a rung."""
        labels, groups = self.tests["label"].to_numpy(), list(self.tests["group"])
        said = (probabilities, rung.probabilities)
        return accuracy_difference(labels, *said, groups, self.n_resamples)

    def as_json(self, probabilities: Floats) -> list[dict[str, object]]:
        """Each rung's numbers, and by how much a network's predictions (n, C) are above it."""
        return [
            {
                "rung": rung.key,
                "name": rung.name,
                "strength": rung.strength,
                "seconds": round(rung.seconds, 1),
                "network_minus_rung": asdict(self.above(rung, probabilities)),
                "metrics": {k: asdict(value) for k, value in self.estimates[rung.key].items()},
            }
            for rung in self.rungs
        ]


def ladder_of(
    datamodule: "XrayDataModule", minutes: float, n_resamples: int, rows: Ints | None = None
) -> Ladder:
    """The ladder of a run's split. rows: of the table, the films that were tested; None: all."""
    films = films_of(datamodule)
    rungs, rows = climb(films, minutes), films.test if rows is None else rows
    at = np.searchsorted(films.test, rows)
    rungs = [replace(rung, probabilities=rung.probabilities[at]) for rung in rungs]
    tests = datamodule.table.iloc[rows][["path", "group", "label"]]
    return Ladder(rungs, tests, list(datamodule.classes), n_resamples)


def _key(films: Films) -> str:
    rows = films.table[["path", "label", "group"]]
    stat = [(films.root / path).stat() for path in films.paths()]
    parts = [VERSION, films.root.resolve(), films.n_classes, films.white]
    parts += [
        rows.iloc[films.fitted].to_csv(index=False),
        rows.iloc[films.test].to_csv(index=False),
    ]
    parts += [(one.st_size, one.st_mtime_ns) for one in stat]
    return digest("|".join(map(str, parts)))[:20]


def _read(file: Path, key: str) -> Rung | None:
    if not file.exists():
        return None
    with np.load(file) as content:
        about = json.loads(str(content["about"]))
        return Rung(key, content["probabilities"], about["strength"], about["seconds"])


def _write(file: Path, rung: Rung) -> None:
    if file.exists():
        return
    about = {k: v for k, v in asdict(rung).items() if k in ("strength", "seconds")}
    part = file.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(part, probabilities=rung.probabilities, about=np.array(json.dumps(about)))
    part.replace(file)
