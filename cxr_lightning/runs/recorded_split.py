"""split.csv: which images a run trains on, chooses by and tests. It does not change any more."""

from pathlib import Path

import pandas as pd

from cxr_lightning.errors import DataError
from cxr_lightning.runs.folder import is_first_process
from cxr_lightning.runs.writing import write_csv

FILE = "split.csv"
SPLITS = ("train", "val", "test", "")


def write_split(folder: Path, found: pd.DataFrame, table: pd.DataFrame) -> None:
    """Write path and split of every image in `found`; empty for those that are not in `table`."""
    if not is_first_process():
        return
    splits = found["path"].map(table.set_index("path")["split"]).fillna("")
    write_csv(folder / FILE, pd.DataFrame({"path": found["path"], "split": splits}))


def read_split(folder: Path) -> "pd.Series[str] | None":
    """Path → split ("train", "val", "test" or ""), None where the folder has no record.

    Raises:
        DataError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
        recorded: pd.Series[str] = frame.set_index("path")["split"]
    except (ValueError, KeyError):  # pandas' ParserError and EmptyDataError are ValueErrors
        recorded = pd.Series(dtype=str)
    if recorded.empty or not recorded.isin(SPLITS).all() or recorded.index.has_duplicates:
        raise DataError(
            f"{file} is damaged: it says which images the run was trained on, and cannot be made "
            "again. Take it from a copy of the folder; or delete it, and the split is drawn from "
            "the images that are there now."
        )
    return recorded
