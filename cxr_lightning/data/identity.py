"""Whether two sets of images are the same, wherever they lie."""

import hashlib
from pathlib import Path

from cxr_lightning.data.index import Index


def images_key(index: Index) -> str:
    """Equal for the same files (path below the root, bytes), classes, splits and patients."""
    table = index.table[["path", "label", "split", "group"]].assign(
        bytes=[_bytes(index.root / path) for path in index.table["path"]]
    )
    text = "\n".join([*index.classes, table.to_csv(index=False)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1  # a missing file, which the store names
