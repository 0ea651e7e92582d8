"""explain.html: films with what a network says of them, and where it looks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cxr_lightning.data.unlabelled import UNREADABLE
from cxr_lightning.errors import ConfigError
from cxr_lightning.explanation import attention, heatmaps, overlay, share_in_center
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.pages.template import rendered
from cxr_lightning.pages.thumbnails import data_url
from cxr_lightning.runs.writing import write_text


@dataclass(frozen=True)
class _Film:
    name: str
    image: Tensor  # uint8 (1, S, S)
    probabilities: npt.NDArray[np.float64]  # (C,)

    @property
    def certainty(self) -> float:
        return float(self.probabilities.max())


class Gallery:
    """Is fed batches of predictions; keeps the films that the network is least certain of.

    These are the films where a look at the heatmap may help; all films, where there are few. Memory
    holds `limit` films, however many are fed; heatmaps are computed at the end, of those alone.
    """

    def __init__(self, classifier: Classifier, limit: int = 100) -> None:
        self.classifier, self.limit = classifier, limit
        self.n_fed = 0
        self._films: list[_Film] = []

    def add(self, names: Sequence[str], images: Tensor, probabilities: Tensor) -> None:
        """A batch of films that could be read: what to call each of them on the page, (B,).

        images: uint8 grey (B, 1, S, S), as the network reads them. probabilities: (B, C).
        """
        self.n_fed += len(names)
        values = probabilities.double().cpu().numpy()
        films = [
            _Film(name, image, p)
            for name, image, p in zip(names, images.cpu(), values, strict=True)
        ]
        kept = sorted([*self._films, *films], key=lambda film: film.certainty)[: self.limit]
        # Of those that are new, copies: a view would keep its whole batch in memory.
        old = {id(film) for film in self._films}
        self._films = [
            film if id(film) in old else _Film(film.name, film.image.clone(), film.probabilities)
            for film in kept
        ]

    def write(self, file: Path) -> Path:
        """Write the page; returns its path.

        Raises ConfigError, and writes nothing, where the network has no feature maps.
        """
        classes: list[str] = self.classifier.hparams["classes"]
        films: list[dict[str, Any]] = []
        about: dict[str, Any] | None = None
        if self._films:
            images = torch.stack([film.image for film in self._films])
            called = torch.tensor([int(film.probabilities.argmax()) for film in self._films])
            about = attention(self.classifier, images, called)
            for film, k in zip(self._films, called.tolist(), strict=True):
                heat = heatmaps(self.classifier, film.image[None], torch.tensor([k]))
                films.append(_shown(film, classes, k, heat))
        content = {
            "films": films,
            "n_fed": self.n_fed,
            "about": about,
            "written": time.strftime("%Y-%m-%d %H:%M"),
        }
        write_text(file, rendered("pages/gallery.html.j2", content))
        return file


class Explained(Callback):
    """Feeds the gallery what `cxr-predict` has just predicted, but for unreadable films."""

    def __init__(self, classifier: Classifier, names: Sequence[str], limit: int) -> None:
        """names: of all films, by their row."""
        self.names, self.gallery = names, Gallery(classifier, limit)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Add the batch; `outputs` are those of `Classifier.predict_step`."""
        rows, probabilities, labels = outputs
        is_shown = (labels != UNREADABLE) & probabilities.isfinite().all(dim=1)
        names = [self.names[row] for row in rows[is_shown].tolist()]
        self.gallery.add(names, batch.image[is_shown], probabilities[is_shown])

    def finish(self, file: Path) -> None:
        """Write the page and say where it is, or why there is none."""
        try:
            print(f"Heatmaps: {self.gallery.write(file)}")
        except ConfigError as reason:
            print(reason)


def _shown(film: _Film, classes: Sequence[str], called: int, heat: Tensor) -> dict[str, Any]:
    pixels = film.image[0].numpy()
    share = float(share_in_center(heat)[0])
    return {
        "name": film.name,
        "called": classes[called],
        "probability": film.certainty,
        "others": [
            (classes[k], float(film.probabilities[k]))
            for k in np.argsort(-film.probabilities, kind="stable")
            if k != called
        ],
        "film": data_url(pixels),
        "overlay": data_url(overlay(pixels, heat[0].numpy())),
        "share": None if np.isnan(share) else share,
    }
