"""Files that are complete or absent: written under another name, then renamed in one step."""

import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_lightning.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

AGAIN = "and rerun the same command: the job is tested again."
LOST = {
    "metrics.json": f"the job's final numbers are lost. Delete it {AGAIN}",
    "run.json": "what the job ran on, and how fast, is lost. Delete it, and metrics.json beside "
    f"it, {AGAIN}",
    "predictions.csv": "what the network said of the test images is lost. Delete it, and "
    f"metrics.json beside it, {AGAIN}",
    "sweep.json": "the list of jobs is lost. Delete it and rerun the same command: finished jobs "
    "stay as they are.",
}
"""What a damaged file of a run or a sweep takes with it, and what to do."""


def write_text(file: Path, text: str) -> None:
    """Write `text`; a reader sees the old file or the whole new one.

    The temporary name is unique, so that several processes may write the same file.
    """
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        replace_synced(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace_synced(part: Path, file: Path) -> None:
    """Rename `part` to `file` when its content is on the disk.

    Else the name may reach the disk first, and a machine that loses power keeps an empty file.
    """
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    part.replace(file)


def write_json(file: Path, content: Any) -> None:
    """Write `content`; types that JSON lacks become text. Raises ValueError for nan."""
    text = json.dumps(content, indent=2, default=str, allow_nan=False, ensure_ascii=False)
    write_text(file, text + "\n")


def write_csv(file: Path, frame: "pd.DataFrame") -> None:
    """Write a table without its index; floats keep all digits."""
    write_text(file, frame.to_csv(index=False, lineterminator="\n"))


def read_json(file: Path) -> Any:
    """The content of a JSON file; raises DataError where it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise DataError(f"{file} is damaged: {LOST.get(file.name, str(error))}") from error


def without_passwords(text: str) -> str:
    """`text` with the password of each URL in it hidden: `mysql://me:***@host/studies`."""
    return re.sub(r"(\w://[^\s:/@]*):[^\s@]+@", r"\1:***@", text)
