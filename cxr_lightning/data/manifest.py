"""A CSV that lists images, as spreadsheets and people write it."""

import csv
import io
import unicodedata
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_lightning.config import ColumnsConfig
from cxr_lightning.data import names
from cxr_lightning.data.names import count, some
from cxr_lightning.errors import DataError

SEPARATORS = ",;\t|"


def read_manifest(manifest: Path, root: Path, columns: ColumnsConfig) -> pd.DataFrame:
    """Columns `path` (as `root` has it), `class`, `split`, `group`, `source`, then all others.

    Cells are "" where the CSV says nothing. The separator may be a comma, a semicolon, a tab or
    `|`; rows and columns without any text are passed over. Raises `DataError` for a CSV, column,
    path, label or file that is missing, an unknown split, and a path that is listed twice.
    """
    listed = _read(manifest)
    table = pd.DataFrame(index=listed.index)
    taken = []
    for role, name in columns:
        same = [c for c in listed.columns if c == name] or [
            c for c in listed.columns if names.key(c) == names.key(name)
        ]
        is_needed = role in ("path", "label") or name != ColumnsConfig.model_fields[role].default
        if len(same) > 1 or (is_needed and not same):
            has = f"several columns called `{name}`" if same else f"no column `{name}`"
            raise DataError(
                f"{manifest} has {has}; its columns are {', '.join(listed.columns)}. Rename one, "
                f"or name yours with data.columns.{role}=…"
            )
        cells = listed[same[0]] if same else pd.Series("", listed.index)
        blank = listed[cells == ""]
        if role in ("path", "label") and len(blank):
            raise DataError(
                f"{manifest}: column `{same[0]}` is empty in {count(len(blank), 'row')}, for "
                f"example in `{','.join(blank.iloc[0])}`. Fill it in, or delete these rows."
            )
        table["class" if role == "label" else role] = cells
        taken += same
    table["path"] = _find(table["path"], manifest, root)
    splits = table["split"].map(names.split_of)
    unknown = sorted(set(table["split"][splits == ""]) - {""})
    if unknown:
        raise DataError(
            f"Unknown {some(unknown)} in column `{columns.split}` of {manifest}. Known: "
            f"{' '.join(names.SPLIT_WORDS.values())}, or empty."
        )
    table["split"] = splits
    # A first column without a name is the row number that pandas writes.
    others = [name for name in dict.fromkeys(listed.columns) if name not in ("", *taken)]
    further = listed.loc[:, ~listed.columns.duplicated()][others]
    return table.join(further.rename(columns={n: f"manifest_{n}" for n in (*table, "label")}))


def _read(manifest: Path) -> pd.DataFrame:
    """All cells as text without blanks around it; at least one row."""
    if not manifest.is_file():
        raise DataError(f"The manifest {manifest} does not exist (data.manifest).")
    cannot = f"{manifest} cannot be read as a CSV in UTF-8"
    try:
        content = manifest.read_bytes()
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # Excel's "Unicode Text"
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
        if text.lower().startswith("sep="):  # Excel's own first line
            text = text.partition("\n")[2]
        header = next((line for line in text.splitlines() if line.strip(f"{SEPARATORS} ")), "")
        separator = max(SEPARATORS, key=header.count)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [cells for line in lines if any(cells := [cell.strip() for cell in line])]
    except (OSError, csv.Error, UnicodeError) as error:
        raise DataError(
            f"{cannot}: {error}. Save it as `CSV UTF-8` in the spreadsheet, or convert it: iconv "
            f"-f cp949 -t utf-8 {manifest.name} (cp949: Korean, cp1252: Western European)."
        ) from error
    width = len(rows[0]) if rows else 0
    long = next((row for row in rows if any(row[width:])), None)
    if long is not None:
        raise DataError(
            f"{cannot}: its header names {width} columns, but `{separator.join(long)}` has "
            f"{len(long)}. Quote cells that contain `{separator}`."
        )
    if len(rows) < 2:
        raise DataError(f"{manifest} lists no images.")
    return pd.DataFrame([(row + [""] * width)[:width] for row in rows[1:]], columns=rows[0])


def _find(written: "pd.Series[str]", manifest: Path, root: Path) -> "pd.Series[str]":
    """The paths as `root` has them: relative where they lie below it.

    Windows writes `\\` between folders, and macOS decomposed letters (NFD).
    """
    paths, absent = [], []
    for text in written:
        slashes = text.replace("\\", "/")
        spellings = (text, slashes, *(unicodedata.normalize(f, slashes) for f in ("NFC", "NFD")))
        path = next((PurePosixPath(p) for p in spellings if (root / p).is_file()), None)
        if path is None:
            absent.append(text)
        elif path.is_relative_to(root.absolute()):
            path = path.relative_to(root.absolute())
        paths.append(str(path))
    if absent:
        raise DataError(
            f"{len(absent)} files of {manifest} are not under {root}: {some(absent)}. "
            "Set data.root to the folder that its paths start from."
        )
    found = pd.Series(paths, index=written.index)
    if found.duplicated().any():
        raise DataError(f"{manifest} lists {some(found[found.duplicated()])} more than once.")
    return found
