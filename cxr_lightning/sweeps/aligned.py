"""The test predictions of a sweep's runs, side by side on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr_lightning.errors import DataError
from cxr_lightning.metrics import compute_metrics, resample_patients
from cxr_lightning.runs.folder import job_state
from cxr_lightning.sweeps.contrasts import Sample
from cxr_lightning.sweeps.plan import Job, Plan

N_RESAMPLES = 2000
METRICS = ("accuracy", "f1_macro")  # compared; recall/k is shown


@dataclass(frozen=True)
class Cell:
    """A cell's finished runs on the aligned images: one network a seed."""

    values: dict[str, str]
    seeds: list[str]
    probabilities: NDArray[np.float64]  # (S, n, C)

    @property
    def name(self) -> str:
        """`resnet18, standard, lr=0.001`: what tells it from the other cells."""
        return cell_name(self.values)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted class of every seed and image, (S, n)."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=2)
        return predicted


@dataclass(frozen=True)
class Aligned:
    """Test images (n) with labels and patients, and every cell's predictions of them."""

    classes: list[str]
    paths: list[str]
    labels: NDArray[np.int64]
    patients: list[str]
    cells: list[Cell]

    @property
    def n_patients(self) -> int:
        """Patients in the test set."""
        return len(set(self.patients))

    @property
    def metrics(self) -> list[str]:
        """The names in `samples`."""
        return [*METRICS, *(f"recall/{name}" for name in self.classes)]

    @cached_property
    def patient_numbers(self) -> NDArray[np.int64]:
        """Patients as numbers, (n,)."""
        numbers: NDArray[np.int64] = np.unique(self.patients, return_inverse=True)[1]
        return numbers

    @cached_property
    def has_class_of_one_patient(self) -> bool:
        """Whether a class is one patient's: a bootstrap cannot tell how it would go with others."""
        of_class = (self.patient_numbers[self.labels == k] for k in range(len(self.classes)))
        return any(len(np.unique(patients)) == 1 for patients in of_class)

    def concerned(self, metric: str) -> NDArray[np.bool_]:
        """The images (n,) that accuracy or recall/k is a share of."""
        _, _, of_class = metric.partition("/")
        all_ = np.ones(len(self.labels), dtype=bool)
        return self.labels == self.classes.index(of_class) if of_class else all_

    def correct(self, cell: Cell) -> NDArray[np.bool_]:
        """Which images each seed has right, (S, n)."""
        right: NDArray[np.bool_] = cell.predicted == self.labels
        return right

    @cached_property
    def samples(self) -> dict[str, dict[str, Sample]]:
        """Metric to cell name to its values and their bootstrap, the same patients for all."""
        samples: dict[str, dict[str, Sample]] = {metric: {} for metric in self.metrics}
        for cell in self.cells:
            runs = [self._metrics(probabilities) for probabilities in cell.probabilities]
            for metric in self.metrics:
                values = np.stack([run[metric] for run in runs])
                samples[metric][cell.name] = Sample(values[:, 0], values[:, 1:])
        return samples

    def _metrics(self, probabilities: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Each metric of the images as they are, then of every resample, (1 + R,)."""
        once = np.ones((1, len(self.labels)))
        parts = [
            compute_metrics(self.labels, probabilities, self.classes, weights, ranking=False)
            for weights in (once, *resample_patients(self.patients, N_RESAMPLES, seed=0))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.metrics}


def cell_name(values: Mapping[str, str]) -> str:
    """Values of the swept keys in words: of a group alone, of a key with its last part.

    With its whole name where another key has the same last part.
    """
    last = [key.rpartition(".")[2] for key in values]
    words = [
        f"{key if last.count(short) > 1 else short}={value}" if "." in key else value
        for short, (key, value) in zip(last, values.items(), strict=True)
    ]
    return ", ".join(words) or "all runs"


def align(folder: Path, plan: Plan) -> Aligned:
    """Read the finished jobs' `predictions.csv`; the folds of a k-fold are put together.

    Raises:
        DataError: no job is finished, or the jobs were not tested on the same images.
    """
    runs = _runs(folder, plan)
    if not runs:
        raise DataError("No job is finished yet.")
    first = next(iter(runs.values()))
    classes = [str(name) for name in first.columns[4:]]
    for (cell, seed), frame in runs.items():
        same = frame[["path", "label"]].equals(first[["path", "label"]])
        if not same or [str(name) for name in frame.columns[4:]] != classes:
            raise DataError(
                f"The jobs were tested on different images or classes ({len(first)} in the first, "
                f"{len(frame)} in {cell_name(dict(cell))} {seed}): they cannot be compared image "
                "by image, and a difference may be the images'."
            )
    cells: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for cell, seed in runs:
        cells.setdefault(cell, []).append(seed)
    return Aligned(
        classes=classes,
        paths=first["path"].tolist(),
        labels=np.array([classes.index(label) for label in first["label"]]),
        patients=[str(group) for group in first["group"]],
        cells=[
            Cell(
                dict(cell),
                seeds,
                np.stack([runs[cell, seed][classes].to_numpy(dtype=float) for seed in seeds]),
            )
            for cell, seeds in cells.items()
        ],
    )


def _runs(folder: Path, plan: Plan) -> dict[tuple[tuple[tuple[str, str], ...], str], pd.DataFrame]:
    """Cell and seed to predictions by path; a seed of which a fold is missing is left out."""
    folds = {job.values.get("split.fold") for job in plan.jobs}
    found: dict[tuple[tuple[tuple[str, str], ...], str], list[pd.DataFrame]] = {}
    for job in plan.jobs:
        if job_state(folder / job.name) == "finished":
            # All text: a class may be called 0 or NA, and a patient 007.
            frame = pd.read_csv(
                folder / job.name / "predictions.csv", dtype=str, keep_default_na=False
            )
            found.setdefault((job.cell, _seed(job)), []).append(frame)
    return {
        key: pd.concat(frames).sort_values("path", ignore_index=True)
        for key, frames in found.items()
        if len(frames) == len(folds)
    }


def _seed(job: Job) -> str:
    replicates = dict(job.values.items() - set(job.cell))
    replicates.pop("split.fold", None)
    return ", ".join(f"{key} {value}" for key, value in sorted(replicates.items()))
