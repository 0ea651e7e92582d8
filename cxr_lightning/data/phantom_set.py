"""The default data: a folder of phantoms in Kaggle's layout and proportions, written once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from rich.progress import track

from cxr_lightning.data.phantom import CLASSES, DRAWING_VERSION, draw_patient, expose

KAGGLE_IMAGES = (576, 1583, 4273, 703)  # of 7,135, in the order of CLASSES
SPLITS = ("train", "val", "test")
MIN_IMAGES = 40


def _stream(seed: int, *key: int) -> np.random.Generator:
    # Not SeedSequence([seed, *key]): that pads with zeros, so [1] and [1, 0] are one stream.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _class_counts(total: int) -> list[int]:
    """Share `total` in Kaggle's proportions, at least one a class, the largest remainder first."""
    quota = total * np.array(KAGGLE_IMAGES) / sum(KAGGLE_IMAGES)
    counts = np.ones(len(CLASSES), dtype=np.int64)
    for _ in range(total - len(CLASSES)):
        counts[np.argmax(quota - counts)] += 1
    return [int(count) for count in counts]


def _patients(n_images: int, seed: int) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Yield each patient's key (split index, class index, patient number) and number of films."""
    val, test = max(len(CLASSES), round(0.05 * n_images)), round(0.30 * n_images)
    number = 0
    for split, total in enumerate((n_images - val - test, val, test)):
        for label, images in enumerate(_class_counts(total)):
            left = images
            rng = _stream(seed, split, label)
            while left > 0:
                number += 1
                films = min(left, int(rng.choice([1, 2, 3], p=[0.85, 0.10, 0.05])))
                left -= films
                yield (split, label, number), films


def _is_complete(root: Path, readme: str) -> bool:
    note = root / "README.txt"
    if note.is_file() and note.read_text(encoding="utf-8") == readme:
        return True
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(
            f"{root} holds something other than the phantoms asked for "
            f"({readme.splitlines()[-1]}). Delete that folder or choose another one."
        )
    return False


def write_phantoms(root: Path, n_images: int, seed: int, show_progress: bool = True) -> Path:
    """Write `root/{train,val,test}/{class}/phantom_patientNNNN_K.png` once and return `root`.

    65% train, 5% val and 30% test, each in Kaggle's class proportions with at least one image a
    class. The test part is larger than Kaggle's 11%, so that a demo's intervals mean something.
    15% of the patients have two or three films, which share anatomy and disease; no patient is in
    two splits or classes. `root` appears by one rename when it is complete, under the lock
    `<root>.lock`: jobs that start together draw once. A film's pixels depend only on the seed, its
    split, class, patient number and K; the bytes of the PNG also on the zlib inside Pillow.

    Raises:
        ValueError: `n_images` is below 40.
        FileExistsError: `root` holds other files, or phantoms of another number, seed or version.
    """
    if n_images < MIN_IMAGES:
        raise ValueError(
            f"n_images={n_images} is too small: {len(CLASSES)} classes in {len(SPLITS)} splits "
            f"need at least {MIN_IMAGES} images. Set n_images to {MIN_IMAGES} or more."
        )
    root = Path(root)
    readme = (
        "These pictures are SYNTHETIC: drawn by a computer (cxr_lightning/data/phantom.py).\n"
        "They are not X-rays, show no patient, and must not be used for anything medical.\n"
        f"n_images={n_images} seed={seed} drawing_version={DRAWING_VERSION}\n"
    )
    if _is_complete(root, readme):  # asked before the lock, so a read-only folder works too
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if _is_complete(root, readme):  # another job drew while this one waited
            return root
        unfinished = root.with_name(f"{root.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a job that was killed
        patients = list(_patients(n_images, seed))
        title = f"Drawing {n_images} synthetic phantoms"
        for key, films in track(patients, title, disable=not show_progress):
            split, label, number = key
            folder = unfinished / SPLITS[split] / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            patient = draw_patient(CLASSES[label], _stream(seed, *key, 0))
            for k in range(1, films + 1):
                film = Image.fromarray(expose(patient, _stream(seed, *key, k)))
                film.save(folder / f"phantom_patient{number:04d}_{k}.png", compress_level=1)
        (unfinished / "README.txt").write_text(readme, encoding="utf-8")
        unfinished.replace(root)
    return root
