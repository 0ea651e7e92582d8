"""What was found of a file, kept as long as the file stays the same (path, bytes, mtime_ns)."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

FILE_KEY = {"path": "str", "bytes": "int64", "mtime_ns": "int64"}


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def stat_files(root: Path, paths: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The key of each file under `root`; and path → reason for those that are not there."""
    files, unreadable = [], {}
    for path in paths:
        try:
            stat = (root / path).stat()
            files.append((path, stat.st_size, stat.st_mtime_ns))
        except OSError as error:  # a link to nowhere
            unreadable[path] = error.strerror or str(error)
    return pd.DataFrame(files, columns=list(FILE_KEY)).astype(FILE_KEY), unreadable


def read_known(file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """The files that earlier calls looked at, and what they found: columns with their types."""
    types = {**FILE_KEY, **columns}
    if not file.exists():
        return pd.DataFrame(columns=list(types)).astype(types)
    return pd.read_csv(file, dtype=types, keep_default_na=False, encoding="utf-8")


def add_known(file: Path, known: pd.DataFrame, new: pd.DataFrame) -> None:
    """Write `known` and `new` as one, in one step."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    pd.concat([known, new], ignore_index=True).to_csv(part, index=False, encoding="utf-8")
    part.replace(file)


def unknown(wanted: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The rows of `wanted` whose file, as it is now, is not in `known`."""
    is_new = wanted.merge(known, on=list(FILE_KEY), how="left", indicator=True)["_merge"] != "both"
    return wanted[is_new.to_numpy()]
