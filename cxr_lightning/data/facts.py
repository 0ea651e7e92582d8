"""What is known of an image's file without looking at its content: size, mode, format, bytes."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.progress import track

from cxr_lightning.data.decode import FORMATS
from cxr_lightning.data.dicom import facts_of_dicom
from cxr_lightning.data.known_files import (
    FILE_KEY,
    add_known,
    digest,
    read_known,
    stat_files,
    unknown,
)
from cxr_lightning.machine import usable_cores

FACTS = {
    "width": "int64",
    "height": "int64",
    "mode": "str",
    "bits": "int64",
    "format": "str",
    "colour": "float64",
}
VERSION = 1
DRAFT_PX = 64  # colours are looked at in a small picture
BITS = {"1": 1, "I": 16, "I;16": 16, "I;16B": 16, "I;16L": 16, "F": 32}


def file_facts(cache_dir: Path, root: Path, paths: list[str]) -> pd.DataFrame:
    """One row per path, in order: `path, bytes, mtime_ns` and `FACTS`; a file is read once.

    width, height: of the file, in px. bits: per channel. colour: the mean difference between red
    and blue, 0 to 255. Of a file that cannot be opened, width is 0 and mode says "unreadable".
    """
    wanted, missing = stat_files(root, paths)
    real = root.resolve()
    file = cache_dir / f"{real.name}-facts-{digest(f'{real}|{VERSION}')[:12]}.csv"
    known = read_known(file, FACTS)
    new = unknown(wanted, known)
    if len(new):
        with ThreadPoolExecutor(len(usable_cores())) as pool:
            found = pool.map(partial(_facts, root), new["path"])
            console = Console(stderr=True)
            facts = list(track(found, "Files", len(new), console=console, transient=True))
        new = new.join(pd.DataFrame(facts, index=new.index))
        cache_dir.mkdir(parents=True, exist_ok=True)
        add_known(file, known, new)
    table = wanted.merge(pd.concat([known, new]), on=list(FILE_KEY), how="left")
    gone = [{"path": path, "bytes": 0, "mtime_ns": 0, **_nothing()} for path in missing]
    if gone:
        table = pd.concat([table, pd.DataFrame(gone)])
    return table.set_index("path").loc[paths].reset_index()


def _facts(root: Path, path: str) -> dict[str, object]:
    try:
        with Image.open(root / path, formats=FORMATS) as image:
            facts: dict[str, object] = {
                "width": image.width,
                "height": image.height,
                "mode": image.mode,
                "bits": BITS.get(image.mode, 8),
                "format": image.format or "",
            }
            return facts | {"colour": _colour(image)}
    except Exception:  # Pillow stumbles in many ways
        try:
            return facts_of_dicom(root / path)
        except Exception:  # pydicom too; `decode` says why
            return _nothing()


def _nothing() -> dict[str, object]:
    return {"width": 0, "height": 0, "mode": "unreadable", "bits": 0, "format": "", "colour": 0.0}


def _colour(image: Image.Image) -> float:
    if image.mode not in ("RGB", "RGBA", "CMYK", "P", "YCbCr"):
        return 0.0
    image.draft("RGB", (DRAFT_PX, DRAFT_PX))
    image.thumbnail((DRAFT_PX, DRAFT_PX), Image.Resampling.BOX)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return round(float(np.abs(pixels[..., 0] - pixels[..., 2]).mean()), 2)
