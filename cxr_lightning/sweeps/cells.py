"""A sweep's finished runs and its cells: the predictions of a seed are pooled over its folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cxr_lightning.errors import DataError
from cxr_lightning.metrics import Floats, Ints, compute_metrics
from cxr_lightning.runs.folder import job_state
from cxr_lightning.runs.writing import LOST, read_json
from cxr_lightning.sweeps.plan import Job, Plan

VALIDATION = "val/f1_macro"  # what rows are sorted by
PREDICTIONS = "predictions.csv"
PARTS = ("split.seed", "split.fold")  # they share out a seed's test images


@dataclass(frozen=True)
class Run:
    """A finished job and what it left. results: `metrics.json`. record: `run.json`."""

    job: Job
    folder: Path
    results: dict[str, Any]
    record: dict[str, Any]

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.yaml`."""
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8")))

    @property
    def validation(self) -> float:
        """Validation macro F1 at the tested epoch; nan without validation images."""
        value = self.results.get("validation", {}).get(VALIDATION)
        return np.nan if value is None else float(value)

    @property
    def collapsed(self) -> str | None:
        """The one class that it calls every test image, if it does and there are others."""
        of_class, called = (np.sum(self.results["confusion_matrix"], axis=axis) for axis in (1, 0))
        is_collapsed = np.count_nonzero(called) == 1 < np.count_nonzero(of_class)
        return self.classes[int(called.argmax())] if is_collapsed else None

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the confusion matrix."""
        return _classes(self.results)


@dataclass(frozen=True)
class Seed:
    """All runs of a seed of a cell: n tests, each of an image in a fold or split.

    tests: path, group (the patient), label (the name of the class) and part (of the fold or split)
    of each. labels: (n,). probabilities: (n, C).
    """

    runs: list[Run]
    tests: pd.DataFrame
    labels: Ints
    probabilities: Floats

    @cached_property
    def predicted(self) -> Ints:
        """The most probable class of each test, (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Cell:
    """A point of the grid. seeds: those of which every fold and split seed is finished.

    left_out: which finished runs are not in `seeds`, and why, in sentences.
    """

    name: str
    values: dict[str, str]
    n_jobs: int
    n_seeds: int
    seeds: list[Seed]
    left_out: list[str]

    @property
    def runs(self) -> list[Run]:
        """The runs of its seeds."""
        return [run for seed in self.seeds for run in seed.runs]

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return self.runs[0].classes

    @property
    def validation(self) -> float:
        """Mean validation macro F1; nan where a run has no validation images."""
        return float(np.mean([run.validation for run in self.runs])) if self.seeds else np.nan

    @cached_property
    def values_of(self) -> dict[str, Floats]:
        """Each metric (`accuracy`, `recall/k`, …) of each seed's tests, (S,)."""
        of_seeds = [compute_metrics(s.labels, s.probabilities, self.classes) for s in self.seeds]
        return {name: np.concatenate([m[name] for m in of_seeds]) for name in of_seeds[0]}


def finished_runs(folder: Path, plan: Plan) -> list[Run]:
    """What the finished jobs of the sweep in `folder` left, in the order of the plan.

    Without those of which a file is damaged: see `damage`.
    """
    return [
        Run(job, at, read_json(at / "metrics.json"), read_json(at / "run.json"))
        for job in plan.jobs
        if job_state(at := folder / job.name) == "finished" and damage(at) is None
    ]


def damage(folder: Path) -> str | None:
    """Which file of a finished job is damaged, what is lost and what to do; None: all is well."""
    try:
        results, _ = read_json(folder / "metrics.json"), read_json(folder / "run.json")
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{folder / 'run.json'} cannot be read: {error.strerror}. {LOST['run.json']}"
    if not isinstance(results, dict) or "metrics" not in results:
        return f"{folder / 'metrics.json'} is damaged: {LOST['metrics.json']}"
    file = folder / PREDICTIONS
    if not file.exists():
        return None  # `find_cells` leaves it out
    try:
        n = len(pd.read_csv(file, usecols=["path"], encoding="utf-8"))
        is_whole = n == results["n"] and file.read_bytes().endswith(b"\n")
    except ValueError:  # pandas' own are ValueErrors
        is_whole = False
    return None if is_whole else f"{file} is damaged: {LOST[PREDICTIONS]}"


def _classes(results: dict[str, Any]) -> list[str]:
    start = "test/recall/"
    return [m.removeprefix(start) for m in results["metrics"] if m.startswith(start)]


def find_cells(plan: Plan, runs: Sequence[Run], file: str = PREDICTIONS) -> list[Cell]:
    """Every cell of the plan, finished or not, in its order; each trial of a search is one.

    file: the predictions, in a run's folder; those of another set of images if it is another file.
    """
    done, jobs_of = {run.job.name: run for run in runs}, dict[tuple[str, object], list[Job]]()
    for job in plan.jobs:
        name = job.name if plan.is_search else cell_name(dict(job.cell))
        jobs_of.setdefault((name, job.cell), []).append(job)
    return [_cell(name, jobs, done, file) for (name, _), jobs in jobs_of.items()]


def cell_name(values: dict[str, str]) -> str:
    """`resnet18, standard, lr=0.001`: of a group its value alone, of a key its last part too.

    With its whole name where another key has the same last part.
    """
    last = [key.rpartition(".")[2] for key in values]
    words = [
        f"{key if last.count(short) > 1 else short}={value}" if "." in key else value
        for short, (key, value) in zip(last, values.items(), strict=True)
    ]
    return ", ".join(words) or "all runs"


def _cell(name: str, jobs: Sequence[Job], done: dict[str, Run], file: str) -> Cell:
    n_parts = len({_part(job) for job in jobs})
    of_seed: dict[str, list[Job]] = {}
    for job in jobs:
        of_seed.setdefault(job.values.get("seed", ""), []).append(job)
    seeds, left_out = [], []
    for seed, its_jobs in of_seed.items():
        runs = [done[job.name] for job in its_jobs if job.name in done]
        runs = [run for run in runs if (run.folder / file).exists()]
        if len(runs) == n_parts:
            seeds.append(pooled(runs, file))
        elif runs:
            left_out.append(
                f"“{name}”{', seed ' if seed else ''}{seed} is left out until all its folds and "
                f"split seeds are finished: {len(runs)} of {n_parts} are."
            )
    return Cell(name, dict(jobs[0].cell), len(jobs), len(of_seed), seeds, left_out)


def _part(job: Job) -> str:
    return " ".join(job.values.get(key, "") for key in PARTS)


def pooled(runs: list[Run], file: str, rung: str = "") -> Seed:
    """The predictions in `file` of a seed's runs, one after the other; of a rung, if one is named.

    Raises OSError where a run lacks the file.
    """
    classes, tests, probabilities = runs[0].classes, [], []
    for run in sorted(runs, key=lambda run: _part(run.job)):
        # All text: a patient may be called 007.
        text: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8"}
        frame = pd.read_csv(run.folder / file, **text).sort_values("path", kind="stable")
        frame = frame[frame["rung"] == rung] if rung else frame
        tests.append(frame[["path", "group", "label"]].assign(part=_part(run.job)))
        probabilities.append(frame[classes].to_numpy(dtype=np.float64))
    together = pd.concat(tests, ignore_index=True)
    labels = pd.Index(classes).get_indexer(pd.Index(together["label"])).astype(np.int64)
    return Seed(runs, together, labels, np.concatenate(probabilities))
