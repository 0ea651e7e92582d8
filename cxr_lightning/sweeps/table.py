"""A sweep's tables: one row per job and one row per cell, as numbers (CSV) and as texts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr_lightning.pages.template import rendered
from cxr_lightning.runs.folder import failure, job_state
from cxr_lightning.runs.writing import read_json, write_csv, write_text
from cxr_lightning.sweeps.cells import (
    PARTS,
    VALIDATION,
    Cell,
    Run,
    damage,
    find_cells,
    finished_runs,
)
from cxr_lightning.sweeps.comparisons import SameTests, same_tests
from cxr_lightning.sweeps.elsewhere import FOLDER, Elsewhere, find_elsewhere
from cxr_lightning.sweeps.nulls import Nulls, find_nulls
from cxr_lightning.sweeps.plan import Job, Plan, read_plan

if TYPE_CHECKING:
    from rich.table import Table

HEADLINES = {
    VALIDATION: "validation macro F1",
    "test/accuracy": "accuracy",
    "test/precision_macro": "macro precision",
    "test/recall_macro": "macro recall",
    "test/f1_macro": "macro F1",
}
JOBS_WITH_INTERVAL = ("test/accuracy", "test/f1_macro")  # in texts; the CSV has all
SECONDS = "train_epoch_s"  # not in summary.csv: rerun or resumed, a sweep has the same file
COUNTS = {"n": ("n", 0), "epochs": ("epochs", 0), SECONDS: ("s/epoch", 1)}  # title and decimals
NOT_ON_SCREEN = ("macro precision", "macro recall", "n", "epochs", "s/epoch", "error")


@dataclass(frozen=True)
class Tables:
    """What a sweep's tables show. jobs, cells: numbers, the best by validation first.

    of_cells, sets: the cells in the order of the sweep, and by what they were tested on. nulls: the
    null ladder of each of these sets, with_intervals only. elsewhere: other hospitals' images.
    """

    plan: Plan
    of_cells: list[Cell]
    sets: list[SameTests]
    jobs: pd.DataFrame
    cells: pd.DataFrame
    nulls: list[Nulls] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)

    @property
    def has_replicates(self) -> bool:
        """Whether a cell has several jobs: seeds, folds or split seeds."""
        return any(cell.n_jobs > 1 for cell in self.of_cells)

    @property
    def job_texts(self) -> pd.DataFrame:
        """The jobs as text: `91.2% (89.0–93.1)`."""
        return _texts(self.jobs, self.plan, JOBS_WITH_INTERVAL)

    @property
    def cell_texts(self) -> pd.DataFrame:
        """The cells as text: `91.2 ± 0.8% (88.0–93.4)`."""
        return _texts(self.cells, self.plan, None)

    def best_of(self, tested: SameTests) -> list[Cell]:
        """The cell of this set that stands first in the tables: the best by validation."""
        by_name = {cell.name: cell for cell in tested.cells}
        return [by_name[name] for name in self.cells["cell"] if name in by_name][:1]

    @property
    def notes(self) -> list[str]:
        """What must be read beside the numbers, in sentences."""
        finished = self.jobs[self.jobs["status"] == "finished"]
        chosen = finished[VALIDATION].notna().tolist() if len(finished) else None
        collapsed = finished.groupby("collapsed")["job"] if len(finished) else ()
        pooled = [key for key in PARTS if key in self.plan.swept]
        content = {"tables": self, "chosen": chosen, "collapsed": collapsed, "pooled": pooled}
        content["damaged"] = list(self.jobs["error"][self.jobs["status"] == "damaged"])
        return rendered("sweeps/notes.txt.j2", content).splitlines()


def write_summary(folder: Path) -> None:
    """Write `summary.csv`, `cells.csv` and `summary.md` of a sweep, finished or not; no bootstrap.

    A job without results has a row all the same, with its status and the reason of its failure.
    """
    write_tables(folder, read_tables(folder))


def read_tables(folder: Path, *, with_intervals: bool = False) -> Tables:
    """Read the jobs' folders; with_intervals: also bootstrap the cells, which takes seconds.

    Raises DataError where `folder` holds no sweep.
    """
    plan = read_plan(folder)
    runs = finished_runs(folder, plan)
    cells = find_cells(plan, runs)
    # The configured number of resamples, the largest if the runs differ.
    n = max((run.config.get("n_resamples", 2000) for run in runs if with_intervals), default=0)
    sets = same_tests(cells, n)
    tested = {cell.name: t for t in sets for cell in t.cells} if with_intervals else {}
    done = {run.job.name: run for run in runs}
    elsewhere = find_elsewhere(plan, runs, n)
    jobs = [_job(folder, job, done.get(job.name)) for job in plan.jobs]
    rows = [
        _cell(cell, tested.get(cell.name)) | _elsewhere(cell, elsewhere, with_intervals)
        for cell in cells
    ]
    nulls = find_nulls(sets) if with_intervals else []
    return Tables(plan, cells, sets, _ranked(jobs), _ranked(rows), nulls, elsewhere)


def write_tables(folder: Path, tables: Tables) -> None:
    """Write `summary.csv` (jobs), `cells.csv` and `summary.md` (both, for reading)."""
    write_csv(folder / "summary.csv", tables.jobs.drop(columns=SECONDS, errors="ignore"))
    write_csv(folder / "cells.csv", tables.cells)
    parts = ["Each run on its test images, with 95% intervals:", _markdown(tables.job_texts)]
    if tables.has_replicates:
        title = "Each cell, mean ± standard deviation over seeds (95% interval):"
        parts = [title, _markdown(tables.cell_texts), *parts]
    for nulls in tables.nulls:
        parts += ["How good is nothing, on the same test images:", _markdown(nulls.texts)]
    parts += ["\n".join(f"- {_escaped(note)}" for note in tables.notes)]
    write_text(folder / "summary.md", "\n\n".join(part for part in parts if part) + "\n")


def print_tables(tables: Tables) -> None:
    """Print the table that fits a screen, of cells where they have several jobs, and the notes."""
    from rich.console import Console
    from rich.text import Text

    texts = tables.cell_texts if tables.has_replicates else tables.job_texts
    title = "Test images, " + ("mean ± sd over seeds (95%)" if tables.has_replicates else "by job")
    hidden = [*NOT_ON_SCREEN, *(tables.plan.swept if tables.plan.is_search else [])]
    texts = texts[[n for n in texts if n not in hidden and not str(n).startswith("recall/")]]
    console = Console()
    console.print(_as_table(texts, title))
    for nulls in tables.nulls:
        console.print(_as_table(nulls.texts, "How good is nothing?"))
    for note in tables.notes:
        console.print(Text(note))


def _as_table(texts: pd.DataFrame, title: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=None, padding=(0, 1))
    for name in texts:
        table.add_column(Text(str(name)), overflow="fold")
    for row in texts.itertuples(index=False):
        table.add_row(*map(Text, row))
    return table


def short(value: object) -> object:
    """A number that a search has drawn, in three digits; all else as it was typed."""
    text = str(value)
    is_drawn = sum(map(str.isdigit, text)) > 6 and re.fullmatch(r"[-+]?\d+\.\d+(e[-+]?\d+)?", text)
    return f"{float(text):.3g}" if is_drawn else value


def _job(folder: Path, job: Job, run: Run | None) -> dict[str, Any]:
    state = job_state(folder / job.name)
    error = failure(folder / job.name) if state == "failed" else None
    shown: str = state
    if state == "finished" and run is None:
        shown, error = "damaged", damage(folder / job.name)
    row: dict[str, Any] = {"job": job.name, **job.values, "status": shown, "error": error}
    if run is None:
        return row
    row |= {name: run.results[name] for name in ("n", "patients")}
    row |= {"epochs": run.record["epochs"], SECONDS: run.record[SECONDS]}
    row |= {f"tested_{k}": value for k, value in run.results.get("tested", {}).items()}
    row |= {"collapsed": run.collapsed, VALIDATION: run.validation}
    found = {name: run.results["metrics"][name] for name in run.results["metrics"]}
    for file in sorted((run.folder / FOLDER).glob("*/metrics.json")):
        there = read_json(file)["metrics"]
        found |= {
            f"{FOLDER}/{file.parent.name}/{name}": there[f"test/{name}"]
            for name in ("accuracy", "balanced_accuracy")
        }
    for name, estimate in found.items():
        row[name] = estimate["value"]
        row[f"{name}/low"], row[f"{name}/high"] = estimate["low"], estimate["high"]
    return row


def _cell(cell: Cell, tested: SameTests | None) -> dict[str, Any]:
    """tested: None leaves out the intervals."""
    row: dict[str, Any] = {"cell": cell.name, **cell.values, "jobs": cell.n_jobs}
    row |= {"seeds": len(cell.seeds), "seeds_planned": cell.n_seeds, VALIDATION: cell.validation}
    if not cell.seeds:
        return row
    tests = cell.seeds[0].tests
    row |= {"n": len(tests), "patients": tests["group"].nunique()}
    for name, values in cell.values_of.items():
        row[f"test/{name}"] = values.mean()
        row[f"test/{name}/sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
        if tested is not None and name in tested.samples:
            mean = tested.mean(cell, name)
            row[f"test/{name}/low"], row[f"test/{name}/high"] = mean.low, mean.high
    return row


def _elsewhere(cell: Cell, sets: Sequence[Elsewhere], with_intervals: bool) -> dict[str, Any]:
    """`external/<set>/<metric>`: a cell's mean over its seeds on the images of other hospitals."""
    row: dict[str, Any] = {}
    for one in sets:
        if cell.name not in one.cells:
            continue
        there = one.cells[cell.name]
        for metric in ("accuracy", "balanced_accuracy"):
            name, values = f"{FOLDER}/{one.name}/{metric}", there.values_of[metric]
            row[name] = values.mean()
            row[f"{name}/sd"] = values.std(ddof=1) if len(values) > 1 else np.nan
            if with_intervals and (found := one.mean(cell.name, metric)) is not None:
                row |= {f"{name}/low": found.low, f"{name}/high": found.high}
    return row


def _ranked(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows by validation macro F1, highest first; as they come where there is none."""
    frame = pd.DataFrame(rows)
    if VALIDATION not in frame:
        return frame
    return frame.sort_values(VALIDATION, ascending=False, kind="stable", ignore_index=True)


def _texts(numbers: pd.DataFrame, plan: Plan, with_interval: Sequence[str] | None) -> pd.DataFrame:
    """The rows as text; with_interval: the metrics that are shown with limits, None for all."""
    swept = [key for key in plan.swept if key in numbers]
    named = [*([str(numbers.columns[0])] if plan.is_search or not swept else []), *swept]
    shown = numbers[named].map(lambda value: str(short(value)))
    if "seeds" in numbers:
        shown["seeds"] = numbers["seeds"].map(str) + " of " + numbers["seeds_planned"].map(str)
    for name, title in (HEADLINES | _externals(numbers) | _recalls(numbers)).items():
        if name in numbers and numbers[name].notna().any():
            limits = with_interval is None or name in with_interval
            shown[title] = [_percent(row, name, limits) for row in numbers.to_dict("records")]
    if (best := HEADLINES[VALIDATION]) in shown and numbers[VALIDATION].count() > 1:
        shown.loc[numbers[VALIDATION] == numbers[VALIDATION].max(), best] += " (best)"
    for name, (title, digits) in COUNTS.items():
        if name in numbers:
            shown[title] = ["" if pd.isna(n) else f"{n:.{digits}f}" for n in numbers[name]]
    if "status" in numbers and (numbers["status"] != "finished").any():
        shown["status"], shown["error"] = numbers["status"], numbers["error"].fillna("")
    return shown


def _externals(numbers: pd.DataFrame) -> dict[str, str]:
    """The columns of accuracy on other hospitals' images."""
    names = [n for n in map(str, numbers) if n.startswith(f"{FOLDER}/") and n.endswith("/accuracy")]
    return {name: f"accuracy on {name.split('/')[1]}" for name in names}


def _recalls(numbers: pd.DataFrame) -> dict[str, str]:
    """The columns `test/recall/k`, without their limits; a class may be called `k/low`."""
    names = [name for name in map(str, numbers) if name.startswith("test/recall/")]
    limits = {f"{name}{end}" for name in names for end in ("/low", "/high", "/sd")}
    return {name: name.removeprefix("test/") for name in names if name not in limits}


def _percent(row: Mapping[Any, Any], name: str, with_limits: bool) -> str:
    """`91.2%`, with its standard deviation and limits where there are any."""
    ends = ("", "/sd", "/low", "/high")
    found = np.array([row.get(f"{name}{end}") for end in ends], dtype=np.float64)  # None is nan
    value, sd, low, high = 100 * found
    if np.isnan(value):
        return ""
    text = f"{value:.1f}%" if np.isnan(sd) else f"{value:.1f} ± {sd:.1f}%"
    return f"{text} ({low:.1f}–{high:.1f})" if with_limits and not np.isnan(low) else text


def _markdown(texts: pd.DataFrame) -> str:
    return str(texts.map(_escaped).to_markdown(index=False, disable_numparse=True))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
