"""A sweep's table: one row a job, from the files in the jobs' folders."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.sweeps.naming import readable

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = {
    "test/accuracy": "accuracy (95%)",
    "test/precision_macro": "precision",
    "test/recall_macro": "recall",
    "test/f1_macro": "F1 (95%)",
}
NOT_ON_SCREEN = ("epochs", "train_epoch_s")
WITH_INTERVAL = ("test/accuracy", "test/f1_macro")


class SweepTable(Callback):
    """Writes `summary.csv` and `summary.md` after each job of a sweep; prints them at the end."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Bring both files up to date: they hold what is finished, whatever comes."""
        if config.hydra.mode == RunMode.MULTIRUN:
            write_summary(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table and where to look."""
        folder = Path(config.hydra.sweep.dir)
        print_summary(write_summary(folder))
        print(f"Tables:    {folder / 'summary.csv'} (every metric), {folder / 'summary.md'}")
        print(f"Dashboard: tensorboard --logdir {folder}")


def write_summary(folder: Path) -> "pd.DataFrame":
    """Write `summary.csv` (every metric with its limits) and `summary.md` (the main ones).

    A job without results has a row all the same, with status "failed" or "unfinished".

    Returns:
        The table of `summary.md`, all text.
    """
    import pandas as pd

    jobs = sorted(job.parent for job in folder.glob("*/.hydra"))
    swept = _swept(jobs)
    table = pd.DataFrame([_row(job, swept) for job in jobs])
    table.to_csv(folder / "summary.csv", index=False)
    shown = _shown(table, swept)
    text = shown.to_markdown(index=False, disable_numparse=True)
    (folder / "summary.md").write_text(text + "\n")
    return shown


def print_summary(shown: "pd.DataFrame") -> None:
    """The columns of `shown` that fit a screen."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="test", box=None, padding=(0, 1))
    names = [name for name in map(str, shown) if name not in NOT_ON_SCREEN and "/" not in name]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in shown[names].itertuples(index=False):
        table.add_row(*row)
    Console().print(table)


def _overrides(job: Path) -> dict[str, str]:
    listed = OmegaConf.to_container(OmegaConf.load(job / ".hydra" / "overrides.yaml"))
    assert isinstance(listed, list)
    pairs = (str(override).partition("=") for override in listed)
    return {key.lstrip("+"): value for key, _, value in pairs}


def _swept(jobs: list[Path]) -> list[str]:
    """The keys that the jobs' names tell, in the order of the command line."""
    return list(
        dict.fromkeys(
            key
            for job in jobs
            for key, value in _overrides(job).items()
            if f"_{readable(f'{key}={value}')}_" in f"_{job.name}_"
        )
    )


def _row(job: Path, swept: list[str]) -> dict[str, Any]:
    overrides = _overrides(job)
    row: dict[str, Any] = {"job": job.name} | {key: overrides.get(key, "") for key in swept}
    if not (job / "metrics.json").exists():
        return row | {"status": "failed" if (job / "error.txt").exists() else "unfinished"}
    results = json.loads((job / "metrics.json").read_text())
    record = json.loads((job / "run.json").read_text())
    row |= {"status": "finished", "n": results["n"], "patients": results["patients"]}
    row |= {"epochs": record["epochs"], "train_epoch_s": record["train_epoch_s"]}
    for name, estimate in results["metrics"].items():
        row[name] = estimate["value"]
        row[f"{name}/low"], row[f"{name}/high"] = estimate["low"], estimate["high"]
    return row


def _shown(table: "pd.DataFrame", swept: list[str]) -> "pd.DataFrame":
    import pandas as pd

    columns = [str(name) for name in table]
    recalls = [c for c in columns if c.startswith("test/recall/") and c.count("/") == 2]
    shown = table[swept or ["job"]].copy()
    for name, title in HEADLINES.items():
        if name in table:
            shown[title] = [_percent(row, name) for _, row in table.iterrows()]
    for name in recalls:
        title = name.removeprefix("test/")
        shown[title] = [_percent(row, name) for _, row in table.iterrows()]
    for name in ("n", "epochs", "train_epoch_s"):
        if name in table:
            digits = 1 if name == "train_epoch_s" else 0
            shown[name] = ["" if pd.isna(v) else f"{v:.{digits}f}" for v in table[name]]
    if (table["status"] != "finished").any():
        shown["status"] = table["status"]
    return shown


def _percent(row: "pd.Series[Any]", name: str) -> str:
    import pandas as pd

    if pd.isna(row[name]):
        return ""
    value = f"{row[name]:.1%}"
    if name in WITH_INTERVAL and not pd.isna(row[f"{name}/low"]):
        value += f" ({100 * row[f'{name}/low']:.1f}–{100 * row[f'{name}/high']:.1f})"
    return value
