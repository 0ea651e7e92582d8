"""Whether two sets of images are the same, wherever they lie."""

import hashlib

from cxr_lightning.data.index import Index


def images_key(index: Index) -> str:
    """Equal for the same files (path below the root, bytes), classes, splits and patients."""
    table = index.table[["path", "label", "split", "group"]].assign(
        bytes=[
            (index.root / path).stat().st_size if (index.root / path).exists() else -1
            for path in index.table["path"]
        ]
    )
    text = "\n".join([*index.classes, table.to_csv(index=False)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
