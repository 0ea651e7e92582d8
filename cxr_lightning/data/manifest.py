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

    `group` and `source` are "" where the CSV says nothing. The separator may be a comma, a
    semicolon, a tab or `|`; rows and columns without any text are passed over.

    Raises:
        DataError: CSV or column missing, unknown split, path or label empty, path listed twice,
            file missing.
    """
    listed = _read(manifest)
    roles: dict[str, str] = {}
    for role, name in columns:
        same = [c for c in listed.columns if c == name] or [
            c for c in listed.columns if names.key(c) == names.key(name)
        ]
        if len(same) > 1:
            raise DataError(
                f"{manifest} has several columns called `{name}`: {some(same)}. Rename one, or "
                f"name yours with data.columns.{role}=…"
            )
        default = ColumnsConfig.model_fields[role].default
        if not same and (role in ("path", "label") or name != default):
            raise DataError(
                f"{manifest} has no column `{name}`; its columns are {', '.join(listed.columns)}. "
                f"Name yours with data.columns.{role}=…"
            )
        roles.update({role: same[0]} if same else {})
    if listed.empty:
        raise DataError(f"{manifest} lists no images.")
    for role in ("path", "label"):
        blank = listed.index[listed[roles[role]] == ""]
        if len(blank):
            raise DataError(
                f"{manifest}: column `{roles[role]}` is empty in {count(len(blank), 'row')}, "
                f"for example in `{','.join(listed.loc[blank[0]])}`. Fill it in, or delete these "
                "rows."
            )
    table = pd.DataFrame({"path": _find(listed[roles["path"]], manifest, root)})
    for role in ("label", "split", "group", "source"):
        table["class" if role == "label" else role] = listed[roles[role]] if role in roles else ""
    if "split" in roles:
        table["split"] = _splits(listed[roles["split"]], manifest)
    # A first column without a name is the row number that pandas writes.
    others = [name for name in listed.columns if name not in ("", *roles.values())]
    further = listed.loc[:, ~listed.columns.duplicated()][list(dict.fromkeys(others))]
    return table.join(further.rename(columns={n: f"manifest_{n}" for n in (*table, "label")}))


def _read(manifest: Path) -> pd.DataFrame:
    """All cells as text without blanks around it."""
    if not manifest.is_file():
        raise DataError(f"The manifest {manifest} does not exist (data.manifest).")
    try:
        content = manifest.read_bytes()
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # Excel's "Unicode Text"
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
        if text.lower().startswith("sep="):  # Excel's own first line
            text = text.partition("\n")[2]
        header = next((line for line in text.splitlines() if line.strip(f"{SEPARATORS} ")), "")
        separator = max(SEPARATORS, key=lambda s: len(next(csv.reader([header], delimiter=s), [])))
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [cells for line in lines if any(cells := [cell.strip() for cell in line])]
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{manifest} cannot be read as a CSV in UTF-8: byte 0x{content[error.start]:02x} in "
            f"line {line} is none. Save it as `CSV UTF-8` in the spreadsheet, or convert it: "
            f"iconv -f cp949 -t utf-8 {manifest.name} (cp949: Korean, cp1252: Western European)."
        ) from None
    except (OSError, csv.Error, UnicodeError) as error:
        raise DataError(f"{manifest} cannot be read as a CSV in UTF-8: {error}.") from error
    if not rows:
        raise DataError(f"{manifest} cannot be read as a CSV in UTF-8: it is empty.")
    width = len(rows[0])
    long = next((row for row in rows if any(row[width:])), None)
    if long is not None:
        raise DataError(
            f"{manifest} cannot be read as a CSV in UTF-8: its header names {width} columns, but "
            f"`{separator.join(long)}` has {len(long)}. Quote cells that contain `{separator}`."
        )
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
        elif path.is_absolute() and path.is_relative_to(root.absolute()):
            path = path.relative_to(root.absolute())
        paths.append(str(path))
    if absent:
        raise DataError(
            f"{len(absent)} files of {manifest} are not under {root}: {some(absent)}. "
            "Set data.root to the folder that its paths start from."
        )
    found = pd.Series(paths, index=written.index)
    twice = found[found.duplicated()]
    if len(twice):
        raise DataError(f"{manifest} lists {some(twice)} more than once.")
    return found


def _splits(listed: "pd.Series[str]", manifest: Path) -> "pd.Series[str]":
    splits = listed.map(names.split_of)
    unknown = sorted(set(listed[(splits == "") & (listed != "")]))
    if unknown:
        known = ", ".join(word for words in names.SPLIT_WORDS.values() for word in words)
        raise DataError(
            f"Unknown {some(unknown)} in column `{listed.name}` of {manifest}. Known: {known} or "
            "empty."
        )
    return splits
