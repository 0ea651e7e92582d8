"""Figures in TensorBoard's IMAGES tab and, for the test set, as PNG in the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning.callbacks.attention import maps_of, record_attention
from cxr_lightning.callbacks.dashboard import AfterEvaluation, writers
from cxr_lightning.data.dataset import augmented
from cxr_lightning.explanation import overlay
from cxr_lightning.metrics import Floats, Ints, confusion_matrix
from cxr_lightning.models.predictions import Predictions
from cxr_lightning.pages.thumbnails import data_url
from cxr_lightning.runs.folder import MISTAKES
from cxr_lightning.runs.writing import write_json

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule


def draw_confusion_matrix(
    matrix: npt.NDArray[np.int64], classes: Sequence[str], title: str
) -> Figure:
    """Counts, shaded by the share of the true class (row); diagonal shares are recalls."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    shades = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(
            column,
            row,
            f"{count}\n{share[row, column]:.1%}",
            ha="center",
            va="center",
            color="white" if share[row, column] > 0.5 else "black",
        )
    names = [
        f"{name}\nn = {total}" for name, total in zip(classes, matrix.sum(axis=1), strict=True)
    ]
    axes.set_xticks(range(len(classes)), classes, rotation=20)
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(shades, label="share of the true class", shrink=0.8)
    return figure


def draw_reliability(before: tuple[Floats, Ints], after: tuple[Floats, Ints], title: str) -> Figure:
    """Accuracy against confidence, before and after calibration; circles grow with the images."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color="0.5", linewidth=0.8)
    for (points, n), name, colour, line in (
        (before, "as trained", "#D55E00", ":"),
        (after, "calibrated", "#0072B2", "-"),
    ):
        axes.plot(points[:, 0], points[:, 1], line, color=colour, label=name)
        sizes = 12 + 200 * n / n.sum()
        axes.scatter(points[:, 0], points[:, 1], s=sizes, color=colour, alpha=0.6)
    axes.set(xlabel="probability of the predicted class", ylabel="share that is right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), title=title)
    axes.legend(frameon=False, loc="upper left")
    return figure


class ConfusionMatrixFigure(AfterEvaluation):
    """The confusion matrix: `<split>/confusion_matrix`, of the test also in the run folder."""

    def show(
        self, trainer: Trainer, predictions: Predictions, classes: list[str], split: str
    ) -> None:
        """Draw it."""
        matrix = confusion_matrix(predictions.labels, predictions.predicted, len(classes))
        accuracy = np.trace(matrix) / matrix.sum()
        title = f"{split}: {np.trace(matrix)} of {matrix.sum()} correct ({accuracy:.1%})"
        figure = draw_confusion_matrix(matrix, classes, title)
        add_figure(trainer, f"{split}/confusion_matrix", figure)


class WorstMistakesFigure(AfterEvaluation):
    """The wrongly classified test images whose true class got the lowest probabilities."""

    def __init__(self, shown: int = 12, explained: int = 256) -> None:
        """`explained` test images, drawn by chance, say where the network looks; 0: no heatmaps."""
        self.shown, self.explained = shown, explained

    def show(
        self, trainer: Trainer, predictions: Predictions, classes: list[str], split: str
    ) -> None:
        """Add `test/worst_mistakes` to TensorBoard and the run folder, if there are any.

        Beside each image is its heatmap for the class that it was called. Where the network looks
        on the whole goes to `explanation.json` and TensorBoard: see `callbacks.attention`.
        """
        if split != "test":
            return
        has_maps = self.explained > 0 and record_attention(trainer, predictions, self.explained)
        wrong = np.flatnonzero(predictions.predicted != predictions.labels)
        if not len(wrong):
            return
        of_truth = predictions.probabilities[wrong, predictions.labels[wrong]]
        worst = wrong[np.argsort(of_truth, kind="stable")][: self.shown]
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        pictures = [[datamodule.pixels[predictions.rows[i]]] for i in worst]
        if has_maps:
            heat = maps_of(trainer, predictions, worst)
            pictures = [[one, overlay(one, h)] for (one,), h in zip(pictures, heat, strict=True)]
        self._keep(
            trainer, [datamodule.table["path"].iloc[predictions.rows[i]] for i in worst], pictures
        )
        n_columns = min(3 if has_maps else 4, len(worst))
        rows, columns = -(-len(worst) // n_columns), n_columns * len(pictures[0])
        figure = Figure(figsize=(2.4 * columns, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel in axes.flat:
            panel.set_axis_off()
        panels = iter(axes.flat)
        for i, (film, *beside) in zip(worst, pictures, strict=True):
            panel = next(panels)
            called, probabilities = predictions.predicted[i], predictions.probabilities[i]
            panel.imshow(film, cmap="gray", vmin=0, vmax=255)
            panel.set_title(
                f"{classes[predictions.labels[i]]}\ncalled {classes[called]}\n"
                f"with {probabilities[called]:.0%}",
                fontsize=9,
            )
            for picture in beside:
                panel = next(panels)
                panel.imshow(picture)
                panel.set_title(f"where it looks\nfor {classes[called]}", fontsize=9)
        kind = "synthetic images, " if datamodule.data.name == "phantom" else ""
        n = len(predictions.labels)
        figure.suptitle(f"{kind}the {len(worst)} worst of {len(wrong)} mistakes on {n} images")
        add_figure(trainer, "test/worst_mistakes", figure)

    def _keep(
        self, trainer: Trainer, paths: Sequence[str], pictures: Sequence[Sequence[Any]]
    ) -> None:
        """Write `worst_mistakes.json`, for the run's page: each film, and its heatmap or None."""
        kept = {
            path: dict(zip(("film", "heatmap"), [*map(data_url, shown), None], strict=False))
            for path, shown in zip(paths, pictures, strict=True)
        }
        write_json(Path(trainer.default_root_dir) / MISTAKES, kept)


class AugmentationFigure(Callback):
    """The same training images before and after augmentation, one of each class."""

    def __init__(self, per_class: int = 1, draws: int = 3) -> None:
        self.per_class, self.draws = per_class, draws

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add `augmentation` to TensorBoard."""
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        add_figure(trainer, "augmentation", self.draw(datamodule))

    def draw(self, datamodule: "XrayDataModule") -> Figure:
        """Columns: images. First row: as stored; the others: as the network may see them."""
        dataset, augment = datamodule.dataset("train"), datamodule.augment
        dataset.augment = None
        labels = dataset.labels.numpy()
        chosen = [
            int(position)
            for label in range(len(datamodule.classes))
            for position in np.flatnonzero(labels == label)[: self.per_class]
        ]
        n_rows = 1 + (self.draws if augment else 0)
        figure = Figure(figsize=(2.2 * len(chosen), 2.4 * n_rows), layout="constrained")
        axes = figure.subplots(n_rows, len(chosen), squeeze=False)
        for column, position in enumerate(chosen):
            image = dataset[position, 0].image
            axes[0, column].set_title(datamodule.classes[labels[position]], fontsize=9)
            for row in range(n_rows):
                seed = row * len(chosen) + column
                shown = augmented(image, augment, seed) if row and augment else image
                axes[row, column].imshow(shown[0], cmap="gray", vmin=0, vmax=255)
                axes[row, column].set(xticks=[], yticks=[])
        axes[0, 0].set_ylabel("before")
        for row in range(1, n_rows):
            axes[row, 0].set_ylabel(f"after, draw {row}")
        kind = "synthetic images" if datamodule.data.name == "phantom" else "training images"
        figure.suptitle(
            f"{kind}, {'before and after augmentation' if n_rows > 1 else 'no augmentation'}"
        )
        return figure


def add_figure(trainer: Trainer, tag: str, figure: Figure) -> None:
    """To TensorBoard; a test's also to the run folder, as `<name>.png`."""
    split, _, name = tag.rpartition("/")
    if split == "test":
        figure.savefig(Path(trainer.default_root_dir) / f"{name}.png", dpi=120)
    for writer in writers(trainer):
        writer.add_figure(tag, figure, global_step=trainer.current_epoch, close=False)
