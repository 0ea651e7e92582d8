"""What a run prints: the images that it found, and its numbers with their intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_lightning.contrasts import above_or_below
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.metrics import Estimate, Floats

if TYPE_CHECKING:
    from cxr_lightning.audit.ladder import Ladder
    from cxr_lightning.decisions.calibration import Score
    from cxr_lightning.external import Drop

MUCH_WAITING = 0.2
SHOWN_PER_CLASS = ("recall", "precision", "f1")


@rank_zero_only
def print_data(datamodule: XrayDataModule) -> None:
    """Images per class and split, patients, what was left out, and what the index notes."""
    counts = datamodule.counts()
    synthetic = " (synthetic, not X-rays)" if datamodule.data.name == "phantom" else ""
    console, table = Console(), Table()
    _print_path(console, "Images:", datamodule.index.root, synthetic)
    table.add_column("images")
    for split in counts.columns:
        table.add_column(split, justify="right")
    table.add_column("all", justify="right")
    for name, row in counts.iterrows():
        table.add_row(Text(str(name)), *(str(n) for n in row), str(row.sum()))
    table.add_section()
    table.add_row("all", *(str(n) for n in counts.sum()), str(counts.to_numpy().sum()))
    patients = datamodule.table.groupby("split")["group"].nunique()
    per_split = [str(patients.get(split, 0)) for split in counts.columns]
    table.add_row("patients", *per_split, str(datamodule.table["group"].nunique()))
    console.print(table)
    _print_ignored(console, datamodule.index.ignored)
    for note in datamodule.index.notes:
        console.print(note, markup=False, highlight=False)
    for path, reason in datamodule.unreadable.items():
        console.print(f"Left out, unreadable: {path} ({reason})", markup=False)


@rank_zero_only
def print_results(
    estimates: Mapping[str, Estimate], folder: Path, strata: pd.DataFrame | None = None
) -> None:
    """Overall metrics, one row per class, in percent with 95% intervals; then the subgroups."""
    console = Console()
    overall = Table("metric", "value", "95% interval", "n", title="test")
    per_class: dict[str, dict[str, Estimate]] = {}
    for name, estimate in estimates.items():
        metric, _, class_name = name.removeprefix("test/").partition("/")
        if class_name:
            per_class.setdefault(class_name, {})[metric] = estimate
        else:
            overall.add_row(metric, *_decimal(estimate), str(estimate.n))
    console.print(overall)
    table = Table("class", "n", *SHOWN_PER_CLASS, title="test, by class: % (95% interval)")
    for class_name, metrics in per_class.items():
        cells = [_percent(metrics[name]) for name in SHOWN_PER_CLASS]
        table.add_row(class_name, str(metrics["recall"].n), *cells)
    console.print(table)
    _print_subgroups(strata)
    console.print("All metrics, and how each interval was found: metrics.json")
    _print_path(console, "Results:", folder)


def print_calibrated(
    temperature: float, n: int, before: "Mapping[str, Score]", after: "Mapping[str, Score]"
) -> None:
    """The temperature, and the calibration error of the test images before and after."""
    numbers = [
        f"{one['ece'].value:.3f} ({one['ece'].low:.3f}–{one['ece'].high:.3f})"
        for one in (before, after)
    ]
    Console().print(
        f"Calibrated on {n} validation images: temperature {temperature:.2f}. Calibration error on "
        f"the test images: {numbers[0]} before, {numbers[1]} after; calibration.json",
        highlight=False,
        markup=False,
    )


@rank_zero_only
def print_ladder(ladder: "Ladder", probabilities: Floats) -> None:
    """How good nothing is: the highest rung, and how far the network is above it."""
    highest = ladder.highest
    found, above = ladder.estimates[highest.key]["accuracy"], ladder.above(highest, probabilities)
    Console().print(
        f"How good is nothing: {highest.name}: {_percent(found)}% accuracy. This network is "
        f"{above_or_below(above)}. All rungs: ladder.json",
        highlight=False,
        markup=False,
    )


@rank_zero_only
def print_drops(name: str, lost: "Mapping[str, Drop]", strata: pd.DataFrame | None = None) -> None:
    """What a network reaches on another hospital's images, beside what it reaches on its own."""
    table = Table("metric", name, "own test images", "drop", title=f"other images: {name}")
    for metric, drop in lost.items():
        points = f"{100 * drop.difference.value:.1f} ({drop.difference.limits})"
        own, other = (f"{_percent(e)} n={e.n}" for e in (drop.internal, drop.external))
        table.add_row(metric, other, own, points)
    Console().print(table)
    _print_subgroups(strata)


def _print_subgroups(found: pd.DataFrame | None) -> None:
    """Accuracy by stratum, the worst first; subgroups.csv has the other metrics."""
    if found is None or not len(found):
        return
    table = Table("subgroup", "n", "patients", "accuracy", "balanced accuracy", title="subgroups")
    for row in found.to_dict("records"):
        cells = [_limits(row, name) for name in ("accuracy", "balanced_accuracy")]
        cells = [str(row["note"]), ""] if row["note"] else cells
        table.add_row(
            Text(f"{row['column']}={row['stratum']}"),
            *map(str, (row["n"], row["patients"])),
            *cells,
        )
    Console().print(table)


@rank_zero_only
def print_end(speed: Mapping[str, Any], folder: Path) -> None:
    """How fast the training was, and where profile and dashboard are."""
    _print_speed(speed)
    print_profile(folder)
    _print_path(Console(), "Dashboard: tensorboard --logdir", folder)


def _print_speed(summary: Mapping[str, Any]) -> None:
    """Images per second of the training, how much of it waited for data, and memory."""
    if not summary["epochs"]:
        return  # the training was done in an earlier process
    memory = ", ".join(
        f"{mb / 1024:.1f} GiB" + ("" if where == "process" else f" on {where}")
        for where, mb in summary["peak_memory_mb"].items()
    )
    text = (
        f"Training: {summary['images_per_s']:.0f} images/s, "
        f"{summary['data_wait']:.0%} of the time waiting for data; peak memory {memory}"
    )
    if summary["data_wait"] > MUCH_WAITING:
        text += ". A larger data.num_workers may help."
    Console().print(text, highlight=False)


@rank_zero_only
def print_profile(folder: Path) -> None:
    """Where the profile is, if one was asked for; one file per process."""
    for file in sorted(folder.glob("*-profile*.txt")):
        _print_path(Console(), "Profile:", file)


def print_predictions(table: pd.DataFrame, ignored: Mapping[str, int], output: Path) -> None:
    """How many images got which class, which could not be read, and where the CSV is."""
    console = Console()
    unreadable = table[table["error"] != ""]
    counts = table["predicted"].value_counts()
    called = ", ".join(f"{n} {name}" for name, n in counts.items())
    console.print(f"{len(table)} images: {called}")
    for _, row in unreadable.iterrows():
        console.print(f"Unreadable: {row['path']} ({row['error']})", markup=False)
    _print_ignored(console, ignored)
    _print_path(console, "Predictions:", output)


def _print_ignored(console: Console, ignored: Mapping[str, int]) -> None:
    if ignored:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(ignored.items()))
        console.print(f"Ignored, not images: {kinds}", markup=False)


def _print_path(console: Console, what: str, path: Path, more: str = "") -> None:
    """Relative where it lies below this folder; never wrapped, so that it can be copied."""
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    console.print(f"{what} {shown}{more}", markup=False, highlight=False, soft_wrap=True)


def _limits(row: Mapping[Any, Any], name: str) -> str:
    values = [row.get(f"{name}{end}") for end in ("", "/low", "/high")]
    value, low, high = (None if v is None or pd.isna(v) else 100 * float(v) for v in values)
    if value is None:
        return "undefined"
    return f"{value:.1f}" if low is None or high is None else f"{value:.1f} ({low:.1f}–{high:.1f})"


def _decimal(estimate: Estimate) -> tuple[str, str]:
    if estimate.value is None:
        return "undefined", ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}", estimate.method
    return f"{estimate.value:.3f}", f"({estimate.low:.3f}–{estimate.high:.3f})"


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return "undefined"
    value = f"{100 * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})"
