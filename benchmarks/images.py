"""The images that all contenders read: folders of links to some of the images given."""

import shutil
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_lightning.data.index import index_folders


def find_images(images: Path) -> pd.DataFrame:
    """Columns `path` (absolute), `class` and `split`, shuffled, so that any part is a fair sample.

    Raises:
        DataError: no folder of class folders.
    """
    index = index_folders(images)
    table = index.table.sample(frac=1, random_state=0, ignore_index=True)
    return pd.DataFrame(
        {
            "path": [str((index.root / path).resolve()) for path in table["path"]],
            "class": [index.classes[label] for label in table["label"]],
            "split": table["split"],
        }
    )


def link_splits(found: pd.DataFrame, root: Path, n_train: int, n_test: int) -> int:
    """Make `root/{train,test}/<class>/` of links; returns the number of different training images.

    Where there are too few images, some are linked under several names. All classes have equally
    many test images, in total close to `n_test`, which may also be training images: no part that
    uses them asks how good a network is.
    """
    shutil.rmtree(root, ignore_errors=True)
    link(found, root / "train", n_train)
    classes = sorted(found["class"].unique())
    for name in classes:
        images = found[found["class"] == name]
        link(images, root / "test", max(1, n_test // len(classes)))
        # A class that the sample misses would give the contenders different numbers of classes.
        if not (root / "train" / name).exists():
            link(images, root / "train", 1)
    return min(n_train, len(found))


def link(found: pd.DataFrame, folder: Path, n: int) -> None:
    """Make `n` links `folder/<class>/<number>` to the images, repeating them if there are fewer."""
    rows = islice(cycle(zip(found["path"], found["class"], strict=True)), n)
    for number, (path, name) in enumerate(rows):
        file = folder / name / f"{number:05d}{Path(path).suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(path)


def enlarge(found: pd.DataFrame, root: Path, factor: int) -> pd.DataFrame:
    """`found` with grey JPEG copies, `factor` times as wide and high, written under `root`."""
    root.mkdir(parents=True, exist_ok=True)
    copies = [str(root / f"{number:05d}.jpg") for number in range(len(found))]
    for path, copy in zip(found["path"], copies, strict=True):
        with Image.open(path) as image:
            size = (image.width * factor, image.height * factor)
            enlarged = image.convert("L").resize(size, Image.Resampling.BICUBIC)
        enlarged.save(copy, quality=90)
    return found.assign(path=copies)


def read_once(found: pd.DataFrame) -> None:
    """Bring all files into the page cache, so that no contender has to wait for the disk."""
    for path in found["path"]:
        Path(path).read_bytes()


def mean_size(found: pd.DataFrame) -> str:
    """`512×438 px, 31 kB`: the means."""
    sizes = []
    for path in found["path"]:
        with Image.open(path) as image:
            sizes.append((*image.size, Path(path).stat().st_size))
    width, height, n_bytes = np.mean(sizes, axis=0)
    return f"{width:.0f}×{height:.0f} px, {n_bytes / 1000:.0f} kB"
