"""A sweep's tables: a row a job, and a row a cell with the spread over its seeds."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_lightning.runs.folder import failure, job_state
from cxr_lightning.sweeps.plan import REPLICATES, Job, Plan, read_plan

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = {
    "test/accuracy": "accuracy",
    "test/precision_macro": "precision",
    "test/recall_macro": "recall",
    "test/f1_macro": "F1",
}
WITH_INTERVAL = ("test/accuracy", "test/f1_macro")


@dataclass(frozen=True)
class Summary:
    """The tables of a sweep.

    jobs: every metric with its limits, as in `summary.csv`; the same for the same sweep, however
    often it was interrupted. costs: seconds, which are not. cells: mean, sd and number of seeds.
    """

    plan: Plan
    jobs: "pd.DataFrame"
    costs: "pd.DataFrame"
    cells: "pd.DataFrame"

    @property
    def has_seeds(self) -> bool:
        """Whether a cell has several finished seeds."""
        return bool((self.cells["seeds"] > 1).any())

    def metrics(self) -> list[str]:
        """The names of the metrics that are there: `test/accuracy` …"""
        names = [str(name) for name in self.jobs if str(name).startswith("test/")]
        return [name for name in names if not name.endswith(("/low", "/high"))]


def write_summary(folder: Path) -> Summary:
    """Write `summary.csv` (jobs), `cells.csv` (cells, mean and sd over seeds) and `summary.md`.

    A job without results has a row all the same, with its status and the reason of its failure.
    """
    summary = summarise(folder)
    for file, table in (("summary.csv", summary.jobs), ("cells.csv", summary.cells)):
        temporary = folder / f"{file}.new"
        table.to_csv(temporary, index=False)
        temporary.replace(folder / file)
    (folder / "summary.md").write_text(_markdown(summary))
    return summary


def summarise(folder: Path) -> Summary:
    """Read the tables from the jobs' folders; finished or not, a sweep has them."""
    import pandas as pd

    plan = read_plan(folder)
    jobs = pd.DataFrame([_row(folder, plan, job) for job in plan.jobs])
    costs = pd.DataFrame([_cost(folder, plan, job) for job in plan.jobs])
    names = [
        c for c in map(str, jobs) if c.startswith("test/") and not c.endswith(("/low", "/high"))
    ]
    cells: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, job in enumerate(plan.jobs):
        cells.setdefault(job.cell, []).append(i)
    rows = [_cell(dict(cell), jobs.iloc[members], names) for cell, members in cells.items()]
    return Summary(plan, jobs, costs, pd.DataFrame(rows))


def shown_cells(summary: Summary) -> "pd.DataFrame":
    """The cells as text: `91.2 ± 0.8%`."""
    import pandas as pd

    cells = summary.cells
    shown = cells[[key for key in summary.plan.swept if key not in REPLICATES]].copy()
    if shown.empty:
        shown["cell"] = ["all"] * len(cells)
    shown["seeds"] = [
        f"{done} of {all_}" for done, all_ in zip(cells["seeds"], cells["jobs"], strict=True)
    ]
    for name, title in (HEADLINES | _recalls(summary)).items():
        if name in cells:
            pairs = zip(cells[name], cells[f"{name}/sd"], strict=True)
            shown[title] = [
                "" if pd.isna(mean) else f"{100 * mean:.1f}" + _spread(sd) + "%"
                for mean, sd in pairs
            ]
    return shown


def shown_jobs(summary: Summary) -> "pd.DataFrame":
    """The jobs as text: `91.2% (89.0–93.1)`."""
    import pandas as pd

    jobs = summary.jobs
    swept = [key for key in summary.plan.swept if key in jobs]
    named = ["job"] if summary.plan.is_search or not swept else []
    shown = jobs[[*named, *swept]].map(short)
    for name, title in (HEADLINES | _recalls(summary)).items():
        if name in jobs:
            head = f"{title} (95%)" if name in WITH_INTERVAL else title
            shown[head] = [percent(row, name) for _, row in jobs.iterrows()]
    for name in ("n", "epochs"):
        if name in jobs:
            shown[name] = ["" if pd.isna(v) else f"{v:.0f}" for v in jobs[name]]
    if "train_epoch_s" in summary.costs:
        seconds = summary.costs["train_epoch_s"]
        shown["s/epoch"] = ["" if pd.isna(v) else f"{v:.1f}" for v in seconds]
    if (jobs["status"] != "finished").any():
        shown["status"] = jobs["status"]
    if jobs["error"].notna().any():
        shown["error"] = jobs["error"].fillna("")
    return shown


def percent(row: "pd.Series[Any]", name: str) -> str:
    """A value of a job's row with, for the main metrics, its interval."""
    import pandas as pd

    if pd.isna(row[name]):
        return ""
    value = f"{row[name]:.1%}"
    if name in WITH_INTERVAL and not pd.isna(row[f"{name}/low"]):
        value += f" ({100 * row[f'{name}/low']:.1f}–{100 * row[f'{name}/high']:.1f})"
    return value


def print_summary(summary: Summary) -> None:
    """The table that fits a screen: cells where there are seeds, else jobs."""
    from rich.console import Console
    from rich.table import Table

    shown = shown_cells(summary) if summary.has_seeds else shown_jobs(summary)
    title = "test, mean ± sd over seeds" if summary.has_seeds else "test"
    table = Table(title=title, box=None, padding=(0, 1))
    hidden = ["epochs", "error", *(summary.plan.swept if summary.plan.is_search else [])]
    names = [name for name in map(str, shown) if "/" not in name and name not in hidden]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in shown[names].itertuples(index=False):
        table.add_row(*row)
    Console().print(table)


def _row(folder: Path, plan: Plan, job: Job) -> dict[str, Any]:
    state, run = job_state(folder / job.name), folder / job.name
    row: dict[str, Any] = {"job": job.name, **job.values, "status": state, "error": None}
    if state == "failed":
        row["error"] = failure(run)
    if state != "finished":
        return row
    results = json.loads((run / "metrics.json").read_text())
    record = json.loads((run / "run.json").read_text())
    row |= {"n": results["n"], "patients": results["patients"], "epochs": record["epochs"]}
    for name, estimate in results["metrics"].items():
        row[name] = estimate["value"]
        row[f"{name}/low"], row[f"{name}/high"] = estimate["low"], estimate["high"]
    return row


def _cost(folder: Path, plan: Plan, job: Job) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.name, **job.values}
    if job_state(folder / job.name) == "finished":
        record = json.loads((folder / job.name / "run.json").read_text())
        row |= {k: record[k] for k in ("device", "processes", "parameters", "train_epoch_s")}
        row |= {f"{name}_s": seconds for name, seconds in record["seconds"].items()}
    return row


def _cell(values: dict[str, str], jobs: "pd.DataFrame", metrics: list[str]) -> dict[str, Any]:
    done = jobs[jobs["status"] == "finished"]
    row: dict[str, Any] = {**values, "jobs": len(jobs), "seeds": len(done)}
    for name in metrics:
        seeds = done[name].dropna()
        row[name] = seeds.mean() if len(seeds) else math.nan
        row[f"{name}/sd"] = seeds.std(ddof=1) if len(seeds) > 1 else math.nan
    return row


def _spread(sd: float) -> str:
    return "" if math.isnan(sd) else f" ± {100 * sd:.1f}"


def _recalls(summary: Summary) -> dict[str, str]:
    return {m: m.removeprefix("test/") for m in summary.metrics() if m.startswith("test/recall/")}


def short(value: object) -> object:
    """A number that a search has drawn, in three digits; all else as it was typed."""
    text = str(value)
    digits = sum(character.isdigit() for character in text)
    is_drawn = digits > 6 and re.fullmatch(r"[-+]?\d+\.\d+(e[-+]?\d+)?", text)
    return f"{float(text):.3g}" if is_drawn else value


def _markdown(summary: Summary) -> str:
    def table(shown: "pd.DataFrame") -> str:
        return shown.to_markdown(index=False, disable_numparse=True) + "\n"

    jobs = table(shown_jobs(summary))
    if not summary.has_seeds:
        return jobs
    return (
        f"Mean ± standard deviation over seeds:\n\n{table(shown_cells(summary))}\n"
        f"Each run, with its 95% interval:\n\n{jobs}"
    )
