"""What value is white in a set whose images have 16 bits: one for all, so that films compare.

Detectors store 10, 12 or 14 bits in 16. The largest value of a single film says little about its
detector; that of the whole set says how many bits are in use.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from cxr_lightning.data.decode import white_of
from cxr_lightning.machine import usable_cores

COLUMNS = {"path": "str", "bytes": "int64", "mtime_ns": "int64", "white": "int64"}


def common_white(files: Iterable[Path]) -> int | None:
    """The value of white for all these files; None where none of them has 16 bits."""
    return max(_look_at(list(files)), default=0) or None


def find_white(cache_dir: Path, root: Path, files: pd.DataFrame) -> int | None:
    """As `common_white`, of `files` (path, bytes, mtime_ns) below `root`; looks at a file once."""
    folder = root.resolve()
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    cache = cache_dir / f"{folder.name}-white-{name}.csv"
    known = pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)
    if cache.exists():
        known = pd.read_csv(cache, dtype=COLUMNS, keep_default_na=False, encoding="utf-8")
    merged = files.merge(known, on=list(files.columns), how="left")
    new = merged["white"].isna()
    if new.any():
        found = _look_at(
            [root / path for path in merged["path"][new]], f"Looking at {escape(root.name)}"
        )
        merged.loc[new, "white"] = found
        known = pd.concat([known, merged[new].astype(COLUMNS)], ignore_index=True)
        part = cache.with_name(f".{cache.name}.{os.getpid()}.part")
        known.to_csv(part, index=False, encoding="utf-8")
        part.replace(cache)
    return int(merged["white"].max()) or None if len(merged) else None


def _look_at(files: list[Path], what: str = "Looking at images") -> list[int]:
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        results = pool.map(white_of, files)
        console = Console(stderr=True)
        return list(track(results, what, total=len(files), console=console, transient=True))
