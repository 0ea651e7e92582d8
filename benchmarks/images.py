"""The images that all contenders read: folders of links to some of the images given."""

import shutil
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_lightning.data.index import index_folders

JPEG_QUALITY = 90


def find_images(images: Path, limit: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Columns `path` (absolute) and `class`, shuffled; so that any part of it is a fair sample.

    Raises:
        DataError: no folder of class folders.
    """
    index = index_folders(images)
    table = index.table.sample(frac=1, random_state=seed, ignore_index=True)[:limit]
    return pd.DataFrame(
        {
            "path": [str((index.root / path).resolve()) for path in table["path"]],
            "class": [index.classes[label] for label in table["label"]],
        }
    )


def link_splits(found: pd.DataFrame, root: Path, n_train: int, n_test: int) -> int:
    """Make `root/{train,test}/<class>/` of links; the number of different training images.

    Where there are too few images, some are linked under several names. Test images are an equal
    number a class (and as many in all as come next to `n_test`), and may also be training images:
    nothing here asks how good a network is.
    """
    if root.exists():
        shutil.rmtree(root)
    _link(found, root / "train", n_train)
    classes = sorted(found["class"].unique())
    for name in classes:
        share = max(1, n_test // len(classes))
        _link(found[found["class"] == name], root / "test", share)
    # A class that the sample misses would leave the contenders with different numbers of classes.
    for name in classes:
        if not (root / "train" / name).exists():
            _link(found[found["class"] == name], root / "train", 1)
    return min(n_train, len(found))


def _link(found: pd.DataFrame, folder: Path, n: int) -> None:
    rows = islice(cycle(found.itertuples(index=False, name=None)), n)
    for number, (path, name) in enumerate(rows):
        link = folder / name / f"{number:05d}{Path(path).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def enlarge(found: pd.DataFrame, root: Path, factor: int) -> pd.DataFrame:
    """Grey JPEG copies of `factor` times the width and height, as `find_images` tells of images."""
    rows = []
    for number, (path, name) in enumerate(found.itertuples(index=False, name=None)):
        copy = root / name / f"{number:05d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            size = (image.width * factor, image.height * factor)
            image.convert("L").resize(size, Image.Resampling.BICUBIC).save(
                copy, quality=JPEG_QUALITY
            )
        rows.append((str(copy), name))
    return pd.DataFrame(rows, columns=["path", "class"])


def read_once(found: pd.DataFrame) -> int:
    """Bring all files into the page cache, so that the first contender is not the one who waits.

    Returns their size in bytes.
    """
    return sum(len(Path(path).read_bytes()) for path in found["path"])


def mean_size(found: pd.DataFrame) -> str:
    """`512×438 px, 31 kB`: the means."""
    sizes = []
    for path in found["path"]:
        with Image.open(path) as image:
            sizes.append((*image.size, Path(path).stat().st_size))
    width, height, n_bytes = np.mean(sizes, axis=0)
    return f"{width:.0f}×{height:.0f} px, {n_bytes / 1000:.0f} kB"
