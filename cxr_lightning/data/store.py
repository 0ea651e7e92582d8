"""Decoded pixels on disk: every file is decoded once, then shared read-only by all processes.

A store is a folder for one root and one way of decoding: `pixels.u8`, the images one after the
other, and `rows.csv`, which says which file each of them was (path, bytes, mtime_ns). Pixels are
only ever appended, and become visible when `rows.csv` is replaced in one step; so readers need no
lock, and a build that was cut off costs nothing but its unfinished tail.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from cxr_lightning.data import decode
from cxr_lightning.data.white import find_white
from cxr_lightning.errors import DataError
from cxr_lightning.machine import usable_cores

FILE_KEY = ["path", "bytes", "mtime_ns"]
TYPES = {"path": "str", "bytes": "int64", "mtime_ns": "int64", "row": "int64"}
LOOK_AGAIN_S = 1.0


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
            flat = np.memmap(self.file, dtype=np.uint8, mode="r")
            stored = len(flat) // self.size_px**2
            self._map = flat[: stored * self.size_px**2].reshape(-1, self.size_px, self.size_px)
        return np.array(self._map[self.rows[position]])

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_map": None}

    def take(self, positions: npt.NDArray[np.int64]) -> "Pixels":
        """The same store restricted to some positions, in their order."""
        return Pixels(self.file, self.size_px, self.rows[positions], self.key, self.white)


def open_store(
    cache_dir: Path, root: Path, paths: Sequence[str], size_px: int, white: int | None = None
) -> tuple[Pixels, dict[str, str]]:
    """The pixels of `paths` (relative to `root`), decoding those that no earlier call decoded.

    `white` is the value of white in images of 16 bits; None: found from all of `paths`.

    Returns:
        The pixels of the readable images, in the order of `paths`; and path → reason for the
        unreadable ones.

    Raises:
        DataError: `cache_dir` cannot be written.
    """
    wanted, unreadable = _stat(root, paths)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        white = white or find_white(cache_dir, root, wanted)
        folder = cache_dir / _folder_name(root, _how(size_px, white))
        folder.mkdir(exist_ok=True)
        known = _read_rows(folder, size_px)
        if len(_unknown(wanted, known)):
            with _locked(folder):
                known = _read_rows(folder, size_px)  # another process may just have decoded them
                new = _unknown(wanted, known)
                known, undecoded = _decode_into(
                    folder, root, new, known, size_px=size_px, white=white
                )
                unreadable |= undecoded
    except OSError as error:
        raise DataError(cache_message(cache_dir, error)) from error
    found = wanted.merge(known, on=FILE_KEY, how="left").dropna(subset=["row"])
    rows = found["row"].to_numpy(dtype=np.int64)
    key = _key(found, _how(size_px, white))
    return Pixels(folder / "pixels.u8", size_px, rows, key, white), unreadable


def cache_message(cache_dir: Path, error: OSError) -> str:
    """What to say where the cache cannot be written."""
    return (
        f"The cache {cache_dir} (data.cache_dir) cannot be written: {error.strerror or error}. "
        "Set data.cache_dir or the environment variable CXR_LIGHTNING_CACHE to a folder of yours."
    )


def _how(size_px: int, white: int | None) -> str:
    return f"{size_px}|grey|{decode.VERSION}" + (f"|white={white}" if white else "")


def _folder_name(root: Path, how: str) -> str:
    digest = hashlib.sha256(f"{root.resolve()}|{how}".encode()).hexdigest()[:12]
    return f"{root.resolve().name}-{how.partition('|')[0]}px-{digest}"


def _key(found: pd.DataFrame, how: str) -> str:
    """What was decoded and how: equal keys are equal pixels in equal order."""
    listing = found[FILE_KEY].to_csv(index=False) + how
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def _stat(root: Path, paths: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    files, unreadable = [], {}
    for path in paths:
        try:
            stat = (root / path).stat()
            files.append((path, stat.st_size, stat.st_mtime_ns))
        except OSError as error:  # a link to nowhere
            unreadable[path] = error.strerror or str(error)
    return pd.DataFrame(files, columns=FILE_KEY).astype({k: TYPES[k] for k in FILE_KEY}), unreadable


def _read_rows(folder: Path, size_px: int) -> pd.DataFrame:
    file, pixels_file = folder / "rows.csv", folder / "pixels.u8"
    if not file.exists():
        return pd.DataFrame(columns=list(TYPES)).astype(TYPES)
    rows = pd.read_csv(file, dtype=TYPES, keep_default_na=False, encoding="utf-8")
    # Pixels that someone deleted, or that a power cut lost, are decoded again.
    stored = pixels_file.stat().st_size // size_px**2 if pixels_file.exists() else 0
    return rows[rows["row"] < stored]


def _unknown(wanted: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    merged = wanted.merge(known, on=FILE_KEY, how="left")
    return wanted[merged["row"].isna().to_numpy()]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=LOOK_AGAIN_S)
    except Timeout:
        waiting = f"Waiting for another process that decodes into {folder} …"
        Console(stderr=True).print(waiting, markup=False)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _decode_into(
    folder: Path,
    root: Path,
    files: pd.DataFrame,
    known: pd.DataFrame,
    *,
    size_px: int,
    white: int | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Append the pixels of `files`; what is decoded when an interrupt comes is kept."""
    unreadable: dict[str, str] = {}
    added: list[int] = []  # positions in `files`, in the order of their rows
    first = 0 if known.empty else int(known["row"].max()) + 1

    def read(path: str) -> npt.NDArray[np.uint8] | str:
        try:
            return decode.decode(root / path, size_px, white)
        except decode.UnreadableImageError as error:
            return str(error)

    pixels_file = folder / "pixels.u8"
    pixels_file.touch()
    # Pillow decodes without the interpreter's lock, so threads use all cores.
    with pixels_file.open("r+b") as file, ThreadPoolExecutor(len(usable_cores())) as pool:
        file.seek(first * size_px**2)
        results = pool.map(read, files["path"])
        title = f"Decoding {escape(root.name)}"
        try:
            for position, result in enumerate(
                track(results, title, total=len(files), console=Console(stderr=True))
            ):
                if isinstance(result, str):
                    unreadable[files["path"].iloc[position]] = result
                else:
                    file.write(result.tobytes())
                    added.append(position)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            file.flush()
            os.fsync(file.fileno())
            rows = files.iloc[added].assign(row=np.arange(first, first + len(added)))
            known = pd.concat([known, rows], ignore_index=True)
            temporary = folder / "rows.csv.new"
            known.to_csv(temporary, index=False, encoding="utf-8")
            temporary.replace(folder / "rows.csv")
    return known, unreadable
