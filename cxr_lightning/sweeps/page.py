"""report.html: a sweep's answer in one file that opens without network."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_lightning.contrasts import Interval
from cxr_lightning.pages import charts
from cxr_lightning.pages.template import rendered
from cxr_lightning.runs.writing import write_text
from cxr_lightning.sweeps.cells import Cell
from cxr_lightning.sweeps.comparisons import COMPARED, Comparison, Effect, comparisons, effects
from cxr_lightning.sweeps.elsewhere import Elsewhere
from cxr_lightning.sweeps.mistakes import common_mistakes
from cxr_lightning.sweeps.nulls import Nulls
from cxr_lightning.sweeps.table import Tables, print_tables, read_tables, write_tables
from cxr_lightning.sweeps.together import all_seeds_together


def write_report(folder: Path) -> Path:
    """Write `summary.csv`, `cells.csv`, `summary.md` and `report.html`; print the table.

    A sweep that is not finished has a report of what is. Raises DataError where there is no sweep.
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
    jobs = tables.jobs[["job", "status", "error"]].fillna("")
    content = {
        "name": folder.name,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "states": jobs["status"].tolist(),
        "without_results": jobs[~jobs["status"].isin(["finished", "pruned"])],
        "job_texts": tables.job_texts,
        "is_phantom": False,
        "cells": [],
        "study": None,
    }
    if tables.plan.is_search:
        from cxr_lightning.sweeps.study import study_results  # needs Optuna, an extra

        content["study"] = study = study_results(folder, tables.plan)
        tables = _only(tables, study.best if study else [])
    if tables.sets:
        content |= _of_cells(tables)
    write_text(
        folder / "report.html", rendered("sweeps/page.html.j2", {**content, "tables": tables})
    )
    return folder / "report.html"


def _only(tables: Tables, names: Sequence[str]) -> Tables:
    """The tables of these cells: the best trials of a search, which validation images chose."""
    sets = [replace(t, cells=[c for c in t.cells if c.name in names]) for t in tables.sets]
    return replace(
        tables,
        of_cells=[cell for cell in tables.of_cells if cell.name in names],
        sets=[tested for tested in sets if tested.cells],
        cells=tables.cells[tables.cells["cell"].isin(names)].reset_index(drop=True),
    )


def _of_cells(tables: Tables) -> dict[str, Any]:
    """What the page says of cells with a whole seed, the best by validation first."""
    by_name = {cell.name: cell for tested in tables.sets for cell in tested.cells}
    cells = [by_name[name] for name in tables.cells["cell"] if name in by_name]
    runs = [run for cell in cells for run in cell.runs]
    found: list[Effect] = []
    for number, tested in enumerate(tables.sets if not tables.plan.is_search else [], start=1):
        found += effects(tested, f" (test set {number})" if tables.sets[1:] else "")
    compared, n_single = comparisons(tables.sets), sum(len(cell.seeds) == 1 for cell in cells)
    n_pairs = sum(math.comb(len(tested.cells), 2) for tested in tables.sets)
    fewest = min(len(tested.patients) for tested in tables.sets)
    return {
        "cells": cells,
        "n_runs": len(runs),
        "is_phantom": any(run.config["data"].get("name") == "phantom" for run in runs),
        "splits": _distinct(run.config["split"].get("name") for run in runs),
        "split_seeds": _distinct(run.config["split"].get("seed") for run in runs),
        "n_train": _range(sum(r.record["images"]["train"].values()) for r in runs),
        "n_val": _range(sum(r.record["images"].get("val", {}).values()) for r in runs),
        "machine": [_distinct(r.record[k] for r in runs) for k in ("device", "precision")],
        "versions": _distinct(f"{k} {v}" for r in runs for k, v in r.record["versions"].items()),
        "commits": _distinct(run.record.get("git_commit") for run in runs),
        "has_seeds": n_single < len(cells),
        "has_single": n_single > 0,
        "effects": pd.DataFrame([_effect(effect) for effect in found]),
        "sentences": [comparison.sentence for comparison in compared],
        "comparisons": pd.DataFrame([_comparison(comparison) for comparison in compared]),
        "n_pairs": n_pairs,
        # The smallest p of the exact test is 2 / 2^patients.
        "fewest": fewest if n_single > 1 and n_pairs * 2.0 ** (1 - fewest) >= 0.05 else None,
        "confusions": [sum(np.array(r.results["confusion_matrix"]) for r in c.runs) for c in cells],
        "mistakes": common_mistakes(cells),
        "together": all_seeds_together(
            cells, max(run.config.get("n_resamples", 2000) for run in runs)
        ),
        "costs": pd.DataFrame([_cost(cell) for cell in cells]),
        "mean_charts": [_means(tables, cells, metric) for metric in COMPARED],
        "effect_charts": [_effects(found, metric) for metric in COMPARED] if found else [],
        "curve_charts": _curves(cells),
        "above": [_above(nulls, cells) for nulls in tables.nulls],
        "verdicts": [n.sentences([c for c in cells if c.name in n.above]) for n in tables.nulls],
        "external_charts": [_external(tables, cells, one) for one in tables.elsewhere],
    }


def _effect(effect: Effect) -> dict[str, str]:
    row = {"factor": effect.name, "matched cells": str(effect.pairs)}
    return row | {title: _points(effect.of[metric]) for metric, title in COMPARED.items()}


def _comparison(c: Comparison) -> dict[str, str]:
    row = {"first": c.first, "second": c.second, "difference": _points(c.difference)}
    row |= {"test": c.test, "p": "not estimable", "p, corrected": ""}
    if c.difference.p is not None:
        row |= {"p": _p(c.difference.p), "p, corrected": _p(c.p_holm)}
    return row


def _points(found: Interval) -> str:
    return f"{100 * found.value:+.1f} ({found.limits})"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _cost(cell: Cell) -> dict[str, str]:
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


def _means(tables: Tables, cells: Sequence[Cell], metric: str) -> charts.Chart:
    tested = {cell.name: t for t in tables.sets for cell in t.cells}
    rows = {cell.name: tested[cell.name].mean(cell, metric) for cell in cells}
    dots = [cell.values_of[metric].tolist() for cell in cells]
    label = f"test {COMPARED[metric]}, percent: mean with 95% interval (square), seeds (circles)"
    line = None
    if len(tables.sets) == 1 and metric == "accuracy":
        line = (tables.sets[0].largest_class[1], "always the largest class")
    ladder = tables.nulls[0].rows(metric) if len(tables.nulls) == 1 else None
    return charts.intervals(f"Test {COMPARED[metric]}", rows, label, line, dots=dots, below=ladder)


def _above(nulls: Nulls, cells: Sequence[Cell]) -> pd.DataFrame:
    """By how much each cell is more accurate than each rung."""
    return pd.DataFrame(
        [
            {"cell": cell.name} | {rung: _points(d) for rung, d in nulls.above[cell.name].items()}
            for cell in cells
            if cell.name in nulls.above
        ]
    )


def _external(tables: Tables, cells: Sequence[Cell], one: Elsewhere) -> charts.Chart:
    own = {cell.name: t for t in tables.sets for cell in t.cells}
    points = {}
    for cell in cells:
        if (there := one.mean(cell.name, "accuracy")) is not None:
            points[cell.name] = (own[cell.name].mean(cell, "accuracy"), there)
    labels = ("test accuracy on the own images, percent", f"accuracy on {one.name}, percent")
    return charts.against(f"Accuracy here and on {one.name}", points, labels)


def _effects(found: Sequence[Effect], metric: str) -> charts.Chart:
    rows = {effect.name: effect.of[metric] for effect in found}
    label = f"difference of test {COMPARED[metric]}, percentage points with 95% interval"
    title = f"Effects on test {COMPARED[metric]}"
    return charts.intervals(title, rows, label, (0.0, "no difference"))


def _curves(cells: Sequence[Cell]) -> list[charts.Chart]:
    files = {(c.name, i): r.folder / "curves.csv" for c in cells for i, r in enumerate(c.runs)}
    frames = {k: pd.read_csv(f, index_col="epoch") for k, f in files.items() if f.exists()}
    return charts.learning(frames)


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _range(values: Iterable[int]) -> str:
    found = sorted(values)
    return " to ".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1])))
