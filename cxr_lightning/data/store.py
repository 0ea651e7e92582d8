"""Decoded pixels on disk: every file is decoded once, then shared read-only by all processes.

A store is a folder for one root and one way of decoding: `pixels.u8`, the images one after the
other, and `rows.csv`, which says which file each of them was (path, bytes, mtime_ns). Pixels are
only ever appended, and become visible when `rows.csv` is replaced in one step; so readers need no
lock, and a build that was cut off costs nothing but its unfinished tail.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from cxr_lightning.data import decode
from cxr_lightning.data.known_files import (
    FILE_KEY,
    add_known,
    digest,
    read_known,
    stat_files,
    unknown,
)
from cxr_lightning.errors import DataError
from cxr_lightning.machine import usable_cores


@dataclass
class Pixels:
    """Images by position, uint8 (size_px, size_px) each, memory-mapped.

    `white` is the value of white that images of 16 bits were read with, None if there is none.
    The map is opened by the process that reads: pickled into a worker, this is a path and numbers.
    """

    file: Path
    size_px: int
    rows: npt.NDArray[np.int64]
    key: str
    white: int | None = None
    _map: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> npt.NDArray[np.uint8]:
        """A copy of the image at `position`, (size_px, size_px) uint8."""
        if self._map is None:
            shape = (self.file.stat().st_size // self.size_px**2, self.size_px, self.size_px)
            self._map = np.memmap(self.file, np.uint8, "r", shape=shape)
        return np.array(self._map[self.rows[position]])

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_map": None}

    def take(self, positions: npt.NDArray[np.int64]) -> "Pixels":
        """The same store restricted to some positions, in their order."""
        return replace(self, rows=self.rows[positions])


def open_store(
    cache_dir: Path,
    root: Path,
    paths: Sequence[str],
    size_px: int,
    white: int | None = None,
    *,
    contrast: str = "none",
) -> tuple[Pixels, dict[str, str]]:
    """The pixels of `paths` (relative to `root`), decoding those that no earlier call decoded.

    `white` is the value of white in images of 16 bits; None: found from all of `paths`. `contrast`
    is as in `decode.decode`. Returns the pixels of the readable images, in the order of `paths`;
    and path → reason for the others.
    Raises `DataError` where `cache_dir` cannot be written.
    """
    wanted, unreadable = stat_files(root, paths)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        white = white or _find_white(cache_dir, root, wanted)
        how = f"{size_px}|grey|{decode.VERSION}" + (f"|white={white}" if white else "")
        how += f"|{contrast}" if contrast != "none" else ""
        real = root.resolve()
        folder = cache_dir / f"{real.name}-{size_px}px-{digest(f'{real}|{how}')[:12]}"
        folder.mkdir(exist_ok=True)
        known = _read_rows(folder, size_px)
        if len(unknown(wanted, known)):
            with _locked(folder):
                read = partial(
                    decode.decode_or_reason, size_px=size_px, white=white, contrast=contrast
                )
                unreadable |= _decode(folder, root, wanted, size_px, read)
            known = _read_rows(folder, size_px)
    except OSError as error:
        raise DataError(cache_message(cache_dir, error)) from error
    found = wanted.merge(known, on=list(FILE_KEY))
    # Equal keys are equal pixels in equal order.
    key = digest(found[list(FILE_KEY)].to_csv(index=False) + how)[:16]
    return Pixels(folder / "pixels.u8", size_px, found["row"].to_numpy(), key, white), unreadable


def whites_of(files: list[Path]) -> list[int]:
    """The value of white that each file speaks for; the largest is that of the set.

    Detectors store 10, 12 or 14 bits in 16. The largest value of a single film says little about
    its detector; that of the whole set says how many bits are in use, and films stay comparable.
    """
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        results, console = pool.map(decode.white_of, files), Console(stderr=True)
        title = "Looking at images"
        return list(track(results, title, len(files), console=console, transient=True))


def cache_message(cache_dir: Path, error: OSError) -> str:
    """What to say where the cache cannot be written."""
    return (
        f"The cache {cache_dir} (data.cache_dir) cannot be written: {error.strerror or error}. "
        "Set data.cache_dir or the environment variable CXR_LIGHTNING_CACHE to a folder of yours."
    )


def _find_white(cache_dir: Path, root: Path, wanted: pd.DataFrame) -> int | None:
    """The white of the set, None where no file has 16 bits; looks at a file once in its life."""
    real = root.resolve()
    file = cache_dir / f"{real.name}-white-{digest(str(real))[:12]}.csv"
    known = read_known(file, {"white": "int64"})
    new = unknown(wanted, known)
    if len(new):
        new = new.assign(white=whites_of([root / path for path in new["path"]]))
        add_known(file, known, new)
    whites = wanted.merge(pd.concat([known, new]), on=list(FILE_KEY))["white"]
    return int(max(whites, default=0)) or None


def _read_rows(folder: Path, size_px: int) -> pd.DataFrame:
    rows, pixels = read_known(folder / "rows.csv", {"row": "int64"}), folder / "pixels.u8"
    # Pixels that someone deleted, or that a power cut lost, are decoded again.
    stored = pixels.stat().st_size // size_px**2 if pixels.exists() else 0
    return rows[rows["row"] < stored]


def _locked(folder: Path) -> AbstractContextManager[object]:
    lock = FileLock(folder / "lock")
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        waiting = f"Waiting for another process that decodes into {escape(str(folder))} …"
        Console(stderr=True).print(waiting)
        return lock.acquire()


def _decode(
    folder: Path,
    root: Path,
    wanted: pd.DataFrame,
    size_px: int,
    read: Callable[[Path], npt.NDArray[np.uint8] | str],
) -> dict[str, str]:
    """Append the pixels that are not there; what is decoded when an interrupt comes is kept."""
    known = _read_rows(folder, size_px)  # another process may just have decoded some
    files = unknown(wanted, known)
    unreadable: dict[str, str] = {}
    added: list[int] = []  # positions in `files`, in the order of their rows
    first = 0 if known.empty else int(known["row"].max()) + 1
    # Pillow decodes without the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(len(usable_cores())) as pool, (folder / "pixels.u8").open("ab") as file:
        file.truncate(first * size_px**2)  # the unfinished tail of a build that was killed
        results = pool.map(read, [root / path for path in files["path"]])
        title, console = f"Decoding {escape(root.name)}", Console(stderr=True)
        try:
            for position, result in enumerate(track(results, title, len(files), console=console)):
                if isinstance(result, str):
                    unreadable[files["path"].iloc[position]] = result
                else:
                    file.write(result.tobytes())
                    added.append(position)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            file.flush()
            os.fsync(file.fileno())
            new = files.iloc[added].assign(row=np.arange(first, first + len(added)))
            add_known(folder / "rows.csv", known, new)
    return unreadable
