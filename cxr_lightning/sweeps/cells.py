"""A cell's numbers over its seeds, with its runs' curves and records: what a report shows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr_lightning.runs.folder import job_state
from cxr_lightning.sweeps.aligned import Aligned, cell_name
from cxr_lightning.sweeps.comparisons import cell_mean
from cxr_lightning.sweeps.contrasts import Interval
from cxr_lightning.sweeps.plan import Plan


@dataclass(frozen=True)
class CellResults:
    """A row of the grid; metrics by name (`accuracy`, `f1_macro`, `recall/k`).

    means: over seeds, with intervals. values: one a seed.
    """

    name: str
    seeds: int
    means: dict[str, Interval]
    values: dict[str, list[float]]
    confusion: NDArray[np.int64]  # (C, C), all seeds added up
    curves: list[pd.DataFrame]
    records: list[dict[str, Any]]

    def sd(self, metric: str) -> float | None:
        """Standard deviation over seeds (n - 1); None of a single one, or of what is undefined."""
        if self.seeds < 2 or np.isnan(self.values[metric]).any():
            return None
        return float(np.std(self.values[metric], ddof=1))

    @property
    def epoch_s(self) -> float:
        """Median seconds of a training epoch, mean over runs."""
        return float(np.mean([record["train_epoch_s"] for record in self.records]))

    @property
    def fit_min(self) -> float:
        """Minutes of a training with its validations, mean over runs."""
        return float(np.mean([record["seconds"]["fit"] for record in self.records])) / 60

    @property
    def epochs(self) -> float:
        """Epochs trained, mean over runs."""
        return float(np.mean([record["epochs"] for record in self.records]))


def cell_results(folder: Path, plan: Plan, aligned: Aligned) -> list[CellResults]:
    """Every cell's results, in the order of the sweep."""
    runs = finished_runs(folder, plan)
    n_classes, results = len(aligned.classes), []
    for cell in aligned.cells:
        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        np.add.at(confusion, (np.tile(aligned.labels, len(cell.seeds)), cell.predicted.ravel()), 1)
        curves = [run / "curves.csv" for run in runs[cell.name]]
        records = [run / "run.json" for run in runs[cell.name]]
        results.append(
            CellResults(
                name=cell.name,
                seeds=len(cell.seeds),
                means={metric: cell_mean(aligned, cell, metric) for metric in aligned.metrics},
                values={m: aligned.samples[m][cell.name].values.tolist() for m in aligned.metrics},
                confusion=confusion,
                curves=[pd.read_csv(file) for file in curves if file.exists()],
                records=[json.loads(file.read_text()) for file in records],
            )
        )
    return results


def finished_runs(folder: Path, plan: Plan) -> dict[str, list[Path]]:
    """The folders of the finished runs of each cell, by its name."""
    runs: dict[str, list[Path]] = {}
    for job in plan.jobs:
        if job_state(folder / job.name) == "finished":
            runs.setdefault(cell_name(dict(job.cell)), []).append(folder / job.name)
    return runs
