"""report.html: a sweep's answer in one file that opens without network."""

import base64
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from cxr_lightning.errors import DataError
from cxr_lightning.sweeps import charts
from cxr_lightning.sweeps.aligned import METRICS, N_RESAMPLES, align
from cxr_lightning.sweeps.cells import CellResults, cell_results, finished_runs
from cxr_lightning.sweeps.comparisons import Effect, comparisons, effects
from cxr_lightning.sweeps.contrasts import Interval
from cxr_lightning.sweeps.mistakes import common_mistakes
from cxr_lightning.sweeps.plan import Job
from cxr_lightning.sweeps.table import Summary

TITLES = {"accuracy": "accuracy", "f1_macro": "macro F1"}


@dataclass(frozen=True)
class Chart:
    """A picture for the page, with what it shows in words for those who do not see it."""

    title: str
    source: str
    alt: str


def write_html(folder: Path, summary: Summary) -> Path:
    """Write `report.html` of the sweep in `folder`; of an unfinished one, what there is."""
    environment = Environment(
        loader=PackageLoader("cxr_lightning.sweeps", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "interval": _interval,
        "points": lambda difference: f"{100 * difference:+.1f}",
        "p": lambda p: f"{p:.3f}" if p >= 0.001 else "< 0.001",
    }
    page = environment.get_template("page.html.j2").render(_content(folder, summary))
    temporary = folder / "report.html.new"
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(folder / "report.html")
    return folder / "report.html"


def _content(folder: Path, summary: Summary) -> dict[str, Any]:
    """What the page names; `problem` says why there is nothing to compare, if so."""
    plan, jobs = summary.plan, summary.jobs.to_dict("records")
    content: dict[str, Any] = {
        "name": folder.name,
        "command": plan.command,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "n_jobs": plan.n_jobs,
        "n_finished": sum(job["status"] == "finished" for job in jobs),
        "n_pruned": sum(job["status"] == "pruned" for job in jobs),
        "others": [job for job in jobs if job["status"] not in ("finished", "pruned")],
        "problem": None,
        "study": None,
    }
    if plan.is_search:
        from cxr_lightning.sweeps.study import study_results  # needs Optuna, an extra

        study = study_results(folder, plan)
        content["study"] = study
        content["study_charts"] = (
            [_chart(title, figure, study.words[title]) for title, figure in study.figures.items()]
            if study
            else []
        )
        # Chosen by validation images, so that their numbers on the test images are honest.
        best = [job.name for job in plan.jobs if study and job.name in study.best]
        plan = replace(plan, jobs=[Job(name, {"trial": name}) for name in best])
    try:
        aligned = align(folder, plan)
    except DataError as error:
        return content | {"problem": str(error)}
    results = cell_results(folder, plan, aligned)
    found = [] if plan.is_search else effects(aligned)
    one_run = next(iter(finished_runs(folder, plan).values()))[0]
    record = json.loads((one_run / "run.json").read_text())
    config = yaml.safe_load((one_run / "config.yaml").read_text())
    images = record.get("images_root") or config["data"]["root"]
    counts = np.bincount(aligned.labels, minlength=len(aligned.classes)).tolist()
    baseline = max(counts) / sum(counts)
    return content | {
        "n_resamples": N_RESAMPLES,
        "n_pairs": math.comb(len(results), 2),
        "n_runs": sum(cell.seeds for cell in results),
        "has_seeds": max(cell.seeds for cell in results) > 1,
        "has_single": min(cell.seeds for cell in results) < 2,
        "accounts_for": _accounts_for(results),
        "aligned": aligned,
        "results": results,
        "baseline": baseline,
        "majority": aligned.classes[counts.index(max(counts))],
        "counts": dict(zip(aligned.classes, counts, strict=True)),
        "record": record,
        "split": config["split"],
        "data": config["data"],
        "effects": found,
        "comparisons": comparisons(aligned),
        "mistakes": common_mistakes(aligned, Path(images) if images else None),
        "mean_charts": [_mean_chart(results, metric, baseline) for metric in METRICS],
        "effect_charts": _effect_charts(found),
        "confusion_charts": [_confusion_chart(cell, aligned.classes) for cell in results],
        "recall_chart": _recall_chart(results, aligned.classes),
        "curve_charts": _curve_charts(results),
        "cost_chart": _cost_chart(results),
    }


def _mean_chart(results: Sequence[CellResults], metric: str, baseline: float) -> Chart:
    cells = {cell.name: cell.means[metric] for cell in results}
    seeds = {cell.name: cell.values[metric] for cell in results}
    figure = charts.means(
        cells, seeds, baseline if metric == "accuracy" else None, f"test {TITLES[metric]}"
    )
    words = [f"{name} {c.value:.1%}, {_interval(c)}" for name, c in cells.items()]
    return _chart(f"Test {TITLES[metric]}", figure, "; ".join(words))


def _effect_charts(found: Sequence[Effect]) -> list[Chart]:
    charts_ = []
    for metric in METRICS if found else ():
        rows: dict[str, Interval] = {
            f"{e.factor.rpartition('.')[2]}: {e.reference} → {e.level}": getattr(e, metric)
            for e in found
        }
        words = [f"{name} {100 * c.value:+.1f}, {_interval(c)}" for name, c in rows.items()]
        figure = charts.differences(rows, f"difference of test {TITLES[metric]}")
        charts_.append(_chart(f"Effects on test {TITLES[metric]}", figure, "; ".join(words)))
    return charts_


def _confusion_chart(cell: CellResults, classes: Sequence[str]) -> Chart:
    words = [
        f"{true}: " + ", ".join(f"{n} as {name}" for name, n in zip(classes, row, strict=True) if n)
        for true, row in zip(classes, cell.confusion, strict=True)
    ]
    figure = charts.confusion(cell.confusion, classes, cell.name)
    return _chart(f"Confusion matrix of {cell.name}", figure, "; ".join(words))


def _recall_chart(results: Sequence[CellResults], classes: Sequence[str]) -> Chart:
    cells = {
        cell.name: {name: cell.means[f"recall/{name}"] for name in classes} for cell in results
    }
    words = [
        f"{name}: "
        + ", ".join(f"{k} {_percent(r.value)}, {_interval(r)}" for k, r in recalls.items())
        for name, recalls in cells.items()
    ]
    return _chart("Recall by class", charts.recalls(cells, classes), "; ".join(words))


def _curve_charts(results: Sequence[CellResults]) -> list[Chart]:
    drawn = []
    for column, title in (
        ("val/f1_macro", "Validation macro F1"),
        ("val/loss", "Validation loss"),
        ("train/loss", "Training loss"),
    ):
        series = {
            cell.name: [
                run.set_index("epoch")[column].dropna() for run in cell.curves if column in run
            ]
            for cell in results
        }
        series = {name: runs for name, runs in series.items() if runs}
        if series:
            ends = {n: np.mean([run.iloc[-1] for run in runs]) for n, runs in series.items()}
            words = [f"{name} ends at {end:.3f}" for name, end in ends.items()]
            drawn.append(_chart(title, charts.curves(series, title), "; ".join(words)))
    return drawn


def _cost_chart(results: Sequence[CellResults]) -> Chart:
    cells = {cell.name: (cell.fit_min, cell.means["accuracy"].value) for cell in results}
    words = [f"{name}: {m:.1f} minutes, {a:.1%}" for name, (m, a) in cells.items()]
    return _chart("Accuracy against training time", charts.costs(cells), "; ".join(words))


def _chart(title: str, figure: Figure, words: str) -> Chart:
    encoded = base64.b64encode(charts.svg(figure).encode()).decode()
    return Chart(title, f"data:image/svg+xml;base64,{encoded}", f"{title}. {words}".strip())


def _accounts_for(results: Sequence[CellResults]) -> str:
    seeds = [cell.seeds for cell in results]
    if max(seeds) < 2:
        return "patients"
    return "patients and seeds" + ("" if min(seeds) > 1 else "; of a single seed, patients")


def _percent(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{share:.1%}"


def _interval(estimate: Interval) -> str:
    if estimate.low is None or estimate.high is None:
        return "not estimable"
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def write_report(folder: Path) -> Path:
    from cxr_lightning.sweeps.table import print_summary, write_summary

    summary = write_summary(folder)
    print_summary(summary)
    print(f"Report:    {write_html(folder, summary)} (open it in a browser)")
    print(f"Tables:    {folder / 'summary.csv'} (every metric), {folder / 'summary.md'}")
    print(f"Dashboard: tensorboard --logdir {folder}")
    return folder / "report.html"
