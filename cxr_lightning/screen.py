"""What a run prints: the images it found, and its numbers with their intervals."""

from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.metrics import Estimate


@rank_zero_only
def print_data(datamodule: XrayDataModule) -> None:
    """Images a class and a split, patients, and what was left out."""
    counts = datamodule.counts()
    synthetic = " (synthetic, not X-rays)" if datamodule.data.name == "phantom" else ""
    table = Table(title=f"{datamodule.index.root}{synthetic}")
    table.add_column("images")
    for split in counts.columns:
        table.add_column(split, justify="right")
    table.add_column("all", justify="right")
    for name, row in counts.iterrows():
        table.add_row(str(name), *(str(n) for n in row), str(row.sum()))
    table.add_section()
    table.add_row("all", *(str(n) for n in counts.sum()), str(counts.to_numpy().sum()))
    patients = datamodule.table.groupby("split")["group"].nunique()
    per_split = [str(patients.get(split, 0)) for split in counts.columns]
    table.add_row("patients", *per_split, str(datamodule.table["group"].nunique()))
    console = Console()
    console.print(table)
    ignored = datamodule.index.ignored
    if ignored:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items()))
        console.print(f"Ignored {sum(ignored.values())} files that are not images: {kinds}")
    for path, reason in datamodule.unreadable.items():
        console.print(f"Left out, unreadable: {path} ({reason})", markup=False)


@rank_zero_only
def print_results(estimates: Mapping[str, Estimate], folder: Path) -> None:
    """Overall metrics, then a row a class, in percent with 95% intervals."""
    console = Console()
    overall = Table("metric", "value", "95% interval", "n", title="Test")
    per_class: dict[str, dict[str, Estimate]] = {}
    for name, estimate in estimates.items():
        metric, _, class_name = name.removeprefix("test/").partition("/")
        if class_name:
            per_class.setdefault(class_name, {})[metric] = estimate
        else:
            overall.add_row(metric, _value(estimate), _interval(estimate), str(estimate.n))
    console.print(overall)
    shown = ("precision", "recall", "specificity", "f1", "auroc")
    table = Table("class", "n", *shown)
    for class_name, metrics in per_class.items():
        cells = [f"{_value(metrics[m])} {_interval(metrics[m])}" for m in shown]
        table.add_row(class_name, str(metrics["recall"].n), *cells)
    console.print(table)
    console.print(f"Results: {folder}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Curves:  tensorboard --logdir {folder}", highlight=False, soft_wrap=True)


def _value(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "" if estimate.value is None else estimate.method
    return f"({estimate.low:.3f}–{estimate.high:.3f})"
