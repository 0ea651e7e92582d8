"""Any number of tiny images, for what grows with their number and not with their size."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")
SHARES = (8, 22, 60, 10)  # patients of each class in 100, unequal as in real sets
SIZE_PX = 16
FILMS_PER_PATIENT = 2
PATIENTS_PER_FOLDER = 1000
LINKS_PER_FILE = 10_000  # ext4 allows 65,000
GROUP_PATTERN = r"(person\d+)"


def write_tiny(root: Path, n: int) -> Path:
    """`n` images in `root/<class>/<folder>/`, two per patient; does nothing where `root` exists.

    They are hard links to a few files: each has a path of its own, which is what an index, a split
    and a store's rows grow with, and takes next to no space.
    """
    if root.exists():
        return root
    labels = np.repeat(np.arange(len(CLASSES)), SHARES)
    rng = np.random.default_rng(0)
    sources = root / ".sources"  # hidden: the index ignores it
    sources.mkdir(parents=True)
    for number in range(n):
        if number % LINKS_PER_FILE == 0:
            source = sources / f"{number}.png"
            pixels = rng.integers(0, 256, (SIZE_PX, SIZE_PX), dtype=np.uint8)
            Image.fromarray(pixels).save(source)
        patient, film = divmod(number, FILMS_PER_PATIENT)
        name = CLASSES[labels[patient % len(labels)]]
        folder = root / name / f"{patient // PATIENTS_PER_FOLDER:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(source, folder / f"person{patient:07d}_{film}.png")
    return root
