"""The default data: a folder of phantoms in Kaggle's layout and proportions, written once."""

import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from rich.progress import Progress

from cxr_lightning.data.phantom import CLASSES, draw_patient, expose
from cxr_lightning.errors import DataError

KAGGLE_IMAGES = (576, 1583, 4273, 703)  # of 7,135, in the order of CLASSES
# Raise drawing_version when the pictures change: an old folder is then refused, not reused.
README = """These pictures are SYNTHETIC: drawn by a computer (cxr_lightning/data/phantom.py).
They are not X-rays, show no patient, and must not be used for anything medical.
n_images={} seed={} drawing_version=1
"""


def write_phantoms(root: Path, n_images: int, seed: int, show_progress: bool = True) -> Path:
    """Write `root/{train,val,test}/{class}/phantom_patientNNNN_K.png` once and return `root`.

    65% train, 5% val and 30% test (more than Kaggle's, for narrower intervals), each in Kaggle's
    class proportions. 15% of the patients have two or three films of the same anatomy and disease.
    Jobs that start together draw once. Raises `DataError` where `root` holds anything else.
    """
    readme = README.format(n_images, seed)

    def is_complete() -> bool:
        note = root / "README.txt"
        if note.is_file() and note.read_text(encoding="utf-8") == readme:
            return True
        if root.exists() and any(root.iterdir()):
            raise DataError(
                f"{root} holds other files than {n_images} phantoms of seed {seed}. Delete it, or "
                "set another data.root. For X-rays of your own: data=kaggle or data=folder."
            )
        return False

    if not is_complete():  # asked before the lock, so a read-only folder works too
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not is_complete():  # another job may have drawn while this one waited
                unfinished = root.with_name(f"{root.name}.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)  # of a job that was killed
                with Progress(disable=not show_progress) as progress:
                    _draw(unfinished, n_images, seed, progress)
                (unfinished / "README.txt").write_text(readme, encoding="utf-8")
                unfinished.replace(root)
    return root


def _draw(root: Path, n_images: int, seed: int, progress: Progress) -> None:
    """Pixels depend on nothing but seed, split, class, patient number and K."""
    task = progress.add_task(f"Drawing {n_images} synthetic phantoms", total=n_images)
    val, test = max(len(CLASSES), round(0.05 * n_images)), round(0.30 * n_images)
    splits, number = {"train": n_images - val - test, "val": val, "test": test}, 0

    def stream(*key: int) -> np.random.Generator:
        # Not SeedSequence([seed, *key]): that pads with zeros, so [1] and [1, 0] are one stream.
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

    for s, (split, total) in enumerate(splits.items()):
        quota = total * np.array(KAGGLE_IMAGES) / sum(KAGGLE_IMAGES)
        n_left = np.ones(len(CLASSES), dtype=np.int64)
        while n_left.sum() < total:  # the largest remainder first
            n_left[np.argmax(quota - n_left)] += 1
        for c, label in enumerate(CLASSES):
            (root / split / label).mkdir(parents=True)
            rng = stream(s, c)
            while n_left[c] > 0:
                number += 1
                patient = draw_patient(label, stream(s, c, number, 0))
                films = min(n_left[c], int(rng.choice([1, 2, 3], p=[0.85, 0.10, 0.05])))
                for k in range(1, films + 1):
                    film = Image.fromarray(expose(patient, stream(s, c, number, k)))
                    name = f"phantom_patient{number:04d}_{k}.png"
                    film.save(root / split / label / name, compress_level=1)
                n_left[c] -= films
                progress.advance(task, films)
