"""The films on which an exported network is compared with its checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from cxr_lightning.config import DataConfig
from cxr_lightning.data.contrast import normalised
from cxr_lightning.data.index import find_images
from cxr_lightning.data.phantom import CLASSES, draw_patient, expose
from cxr_lightning.data.unlabelled import UNREADABLE, FileDataset
from cxr_lightning.deploy.formats import Pixels
from cxr_lightning.errors import DataError
from cxr_lightning.runs.writing import read_json


@dataclass(frozen=True)
class Films:
    """Grey images uint8 (n, 1, S, S), their names, and in words what they are."""

    images: Pixels
    names: list[str]
    are: str


def films_for(data: DataConfig, run: Path, given: Path | None, most: int) -> Films:
    """At most `most` films, read as the training's (`data`) were: those that are `given`.

    Else, of the run's own test films, some in each part of its list. Else phantoms. Raises
    `DataError` where nothing that is `given` can be read.
    """
    if given is not None:
        root, paths, _ = find_images(given)
        films = _read(root, paths, data, most, f"images of {given}")
        if not films.names:
            raise DataError(f"None of the {len(paths)} images at {given} (input) can be read.")
        return films
    if (run / "predictions.csv").is_file() and (run / "run.json").is_file():
        root = Path(read_json(run / "run.json")["images_root"])
        paths = pd.read_csv(run / "predictions.csv", usecols=["path"], dtype=str)["path"].tolist()
        if all((root / path).is_file() for path in _some_of(paths, most)):
            films = _read(root, paths, data, most, "test films of the run")
            if films.names:
                return films
    return _phantoms(data, most)


def _read(root: Path, paths: list[str], data: DataConfig, most: int, are: str) -> Films:
    chosen = _some_of(paths, most)
    dataset = FileDataset(root, chosen, data.image_size, data.white, data.contrast)
    batches = [dataset[row] for row in range(len(dataset))]
    kept = [batch for batch in batches if batch.label != UNREADABLE]
    names = [chosen[int(batch.row)] for batch in kept]
    empty = torch.zeros(0, 1, data.image_size, data.image_size, dtype=torch.uint8)
    images = torch.cat([empty, *(batch.image[None] for batch in kept)]).numpy()
    return Films(images, names, are)


def _some_of(paths: list[str], most: int) -> list[str]:
    """Evenly through the list, so that each class has some."""
    rows = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [paths[row] for row in rows]


def _phantoms(data: DataConfig, most: int) -> Films:
    images, size = [], (data.image_size, data.image_size)
    for number in range(most):
        rng = np.random.default_rng(number)
        film = expose(draw_patient(CLASSES[number % len(CLASSES)], rng), rng)
        resized = Image.fromarray(film).resize(size, Image.Resampling.BILINEAR)
        images.append(normalised(resized, data.contrast)[None])
    names = [f"phantom {number}" for number in range(most)]
    return Films(np.stack(images), names, "phantoms: the run's own test films are not here")
