"""report.html: a sweep's answer in one file that opens without network."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from cxr_lightning.metrics import confusion_matrix
from cxr_lightning.runs.writing import write_text
from cxr_lightning.sweeps import charts
from cxr_lightning.sweeps.cells import Cell
from cxr_lightning.sweeps.charts import Chart, chart
from cxr_lightning.sweeps.comparisons import Effect, comparisons, effects
from cxr_lightning.sweeps.mistakes import common_mistakes
from cxr_lightning.sweeps.table import Tables, print_tables, read_tables, short, write_tables

if TYPE_CHECKING:
    from cxr_lightning.sweeps.study import StudyResults

METRICS = {"accuracy": "accuracy", "f1_macro": "macro F1"}
CURVES = {
    "val/f1_macro": "Validation macro F1",
    "val/loss": "Validation loss",
    "train/loss": "Training loss",
}


def write_report(folder: Path) -> Path:
    """Write `summary.csv`, `cells.csv`, `summary.md` and `report.html`; print the table.

    A sweep that is not finished has a report of what is.

    Raises:
        DataError: `folder` holds no sweep.
    """
    tables = read_tables(folder, with_intervals=True)
    write_tables(folder, tables)
    print_tables(tables)
    print(f"Report:    {write_page(folder, tables)} (open it in a browser)")
    print(f"Tables:    {folder / 'summary.csv'} (every metric), {folder / 'summary.md'}")
    print(f"Dashboard: tensorboard --logdir {folder}")
    return folder / "report.html"


def write_page(folder: Path, tables: Tables) -> Path:
    """Write `report.html` of the sweep in `folder`; of an unfinished one, what there is."""
    environment = Environment(
        loader=PackageLoader("cxr_lightning.sweeps", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": charts.in_words,
        "points": lambda difference: f"{100 * difference:+.1f}",
        "p": lambda p: "not estimable" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
    }
    state = tables.jobs["status"]
    without = tables.jobs.loc[~state.isin(["finished", "pruned"]), ["job", "status", "error"]]
    content: dict[str, Any] = {
        "name": folder.name,
        "command": tables.plan.command,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "n_jobs": tables.plan.n_jobs,
        "states": {name: int((state == name).sum()) for name in ("finished", "pruned")},
        "without_results": without.fillna(""),
        "job_texts": tables.job_texts,
        "notes": tables.notes,
        "is_phantom": False,
        "cells": [],
        "study": None,
    }
    if tables.plan.is_search:
        tables, study = _best_of_search(folder, tables)
        content |= study
    if tables.sets:
        content |= _of_cells(tables)
    write_text(folder / "report.html", environment.get_template("page.html.j2").render(content))
    return folder / "report.html"


def _best_of_search(folder: Path, tables: Tables) -> tuple[Tables, dict[str, Any]]:
    """The tables of the best trials, which validation images chose, and the study's part."""
    from cxr_lightning.sweeps.study import study_results  # needs Optuna, an extra

    study = study_results(folder, tables.plan)
    best = study.best if study else []
    sets = [replace(t, cells=[c for c in t.cells if c.name in best]) for t in tables.sets]
    pictures = study.figures.items() if study else ()
    return replace(
        tables,
        of_cells=[cell for cell in tables.of_cells if cell.name in best],
        sets=[tested for tested in sets if tested.cells],
        cells=tables.cells[tables.cells["cell"].isin(best)].reset_index(drop=True),
    ), {
        "study": study,
        "trials": _trials(study) if study else None,
        "study_charts": [chart(t, figure, study.words[t]) for t, figure in pictures if study],
    }


def _trials(study: "StudyResults") -> pd.DataFrame:
    """All trials of a search as text, with the values of their objectives and parameters."""
    rows = []
    for trial in study.trials:
        values = zip(study.objectives, trial.values or [], strict=False)
        row = {"trial": str(trial.number), "state": trial.state.name.lower()}
        row |= {name: f"{value:.4f}" for name, value in values}
        rows.append(row | {name: str(short(value)) for name, value in trial.params.items()})
    return pd.DataFrame(rows).fillna("")


def _of_cells(tables: Tables) -> dict[str, Any]:
    """What the page says of cells with a whole seed, the best by validation first."""
    by_name = {cell.name: cell for tested in tables.sets for cell in tested.cells}
    cells = [by_name[name] for name in tables.cells["cell"] if name in by_name]
    runs = [run for cell in cells for run in cell.runs]
    configs = [yaml.safe_load((r.folder / "config.yaml").read_text("utf-8")) for r in runs]
    found: list[Effect] = []
    for number, tested in enumerate(tables.sets if not tables.plan.is_search else [], start=1):
        found += effects(tested, f" (test set {number})" if tables.sets[1:] else "")
    n_pairs = sum(math.comb(len(tested.cells), 2) for tested in tables.sets)
    fewest = min(len(tested.patients) for tested in tables.sets)
    seeds = [len(cell.seeds) for cell in cells]
    return {
        "cells": cells,
        "sets": tables.sets,
        "cell_texts": tables.cell_texts,
        "notes": tables.notes,
        "n_runs": len(runs),
        "is_phantom": any(config["data"].get("name") == "phantom" for config in configs),
        "splits": _distinct(c["split"].get("name") for c in configs),
        "split_seeds": _distinct(c["split"].get("seed") for c in configs),
        "n_train": _range(sum(r.record["images"]["train"].values()) for r in runs),
        "n_val": _range(sum(r.record["images"].get("val", {}).values()) for r in runs),
        "machine": [_distinct(r.record[k] for r in runs) for k in ("device", "precision")],
        "versions": _distinct(f"{k} {v}" for r in runs for k, v in r.record["versions"].items()),
        "commits": _distinct(r.record.get("git_commit") for r in runs),
        "n_resamples": tables.sets[0].n_resamples,
        "has_seeds": max(seeds) > 1,
        "has_single": min(seeds) < 2,
        "effects": found,
        "comparisons": comparisons(tables.sets),
        "n_pairs": n_pairs,
        # The smallest p of the exact test is 2 / 2^patients.
        "fewest": fewest if seeds.count(1) > 1 and n_pairs * 2.0 ** (1 - fewest) >= 0.05 else None,
        "confusions": [(cell, _confusion(cell)) for cell in cells],
        "mistakes": common_mistakes(cells),
        "costs": pd.DataFrame([_cost(cell) for cell in cells]),
        **_charts(tables, cells, found),
    }


def _charts(tables: Tables, cells: Sequence[Cell], found: Sequence[Effect]) -> dict[str, Any]:
    """The pictures, with the cells in the order of the table."""
    largest = [tested.largest_class[1] for tested in tables.sets]
    line = (largest[0], "always the largest class") if len(largest) == 1 else None
    means, effect_charts, mean_charts = tables.means, [], []
    for metric, title in METRICS.items():
        rows = {cell.name: means[cell.name][metric] for cell in cells}
        dots = {cell.name: cell.values_of[metric].tolist() for cell in cells}
        label = f"test {title}, percent: mean with 95% interval (square), seeds (circles)"
        line_ = line if metric == "accuracy" else None
        mean_charts.append(charts.intervals(f"Test {title}", rows, label, line_, dots))
        if found:
            of_effects = {e.name: getattr(e, metric) for e in found}
            label = f"difference of test {title}, percentage points with 95% interval"
            args = (f"Effects on test {title}", of_effects, label, (0.0, "no difference"))
            effect_charts.append(charts.intervals(*args))
    return {
        "mean_charts": mean_charts,
        "effect_charts": effect_charts,
        "curve_charts": _curve_charts(cells),
    }


def _confusion(cell: Cell) -> list[tuple[str, list[tuple[int, float]]]]:
    """Per true class: count and share of the row for each predicted class, all seeds added up."""
    labels = np.concatenate([seed.labels for seed in cell.seeds])
    predicted = np.concatenate([seed.predicted for seed in cell.seeds])
    matrix = confusion_matrix(labels, predicted, len(cell.classes))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = zip(cell.classes, matrix.tolist(), shares.tolist(), strict=True)
    return [(name, list(zip(counts, of_row, strict=True))) for name, counts, of_row in rows]


def _curve_charts(cells: Sequence[Cell]) -> list[Chart]:
    files = {cell.name: [run.folder / "curves.csv" for run in cell.runs] for cell in cells}
    frames = {
        name: [pd.read_csv(f).set_index("epoch") for f in of_cell if f.exists()]
        for name, of_cell in files.items()
    }
    drawn = []
    for column, title in CURVES.items():
        series = {
            n: [f[column].dropna() for f in of_cell if column in f and f[column].count()]
            for n, of_cell in frames.items()
        }
        if any(series.values()):
            drawn.append(
                charts.curves(title, {name: runs for name, runs in series.items() if runs})
            )
    return drawn


def _cost(cell: Cell) -> dict[str, str]:
    """A row of the table of costs: means over the cell's runs."""
    frame = pd.DataFrame([{**run.record, **run.record["seconds"]} for run in cell.runs])
    mean = frame[["epochs", "train_epoch_s", "fit"]].mean()
    return {
        "cell": cell.name,
        "parameters": _range(frame["parameters"]),
        "epochs": f"{mean['epochs']:.1f}",
        "seconds per epoch": f"{mean['train_epoch_s']:.1f}",
        "minutes of training": f"{mean['fit'] / 60:.1f}",
        "test accuracy": f"{cell.values_of['accuracy'].mean():.1%}",
    }


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _range(values: Iterable[int]) -> str:
    low, high = min(found := list(values)), max(found)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
