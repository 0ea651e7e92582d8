"""Any number of tiny images, for what grows with their number and not with their size."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")
SHARES = (8, 22, 60, 10)  # patients of 100 a class, unequal as in real sets
FILMS_A_PATIENT = 2
PATIENTS_A_FOLDER = 1000
LINKS_A_FILE = 10_000  # ext4 allows 65,000
GROUP_PATTERN = r"(person\d+)"


def write_tiny(root: Path, n: int) -> Path:
    """`n` images of 16×16 px in `root/<class>/<folder>/`, two a patient; `root` once it is there.

    They are hard links to a few files: each has a path of its own, which is what an index, a split
    and a store's rows grow with, and takes next to no space.
    """
    if root.exists():
        return root
    labels = np.repeat(np.arange(len(CLASSES)), SHARES)
    rng = np.random.default_rng(0)
    unfinished = root.with_name(f"{root.name}.unfinished")
    sources = unfinished / ".sources"  # hidden: the index passes over it
    sources.mkdir(parents=True)
    for number in range(n):
        if number % LINKS_A_FILE == 0:
            source = sources / f"{number}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(source)
        patient, film = divmod(number, FILMS_A_PATIENT)
        name = CLASSES[labels[patient % len(labels)]]
        folder = unfinished / name / f"{patient // PATIENTS_A_FOLDER:04d}"
        if patient % PATIENTS_A_FOLDER < len(labels):
            folder.mkdir(parents=True, exist_ok=True)
        os.link(source, folder / f"person{patient:07d}_{film}.png")
    unfinished.rename(root)
    return root
