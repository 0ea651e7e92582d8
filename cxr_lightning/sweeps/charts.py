"""A report's charts, as SVG text: told apart by marker and line style, not by colour alone."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib

matplotlib.use("Agg")  # no screen is needed, or there

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from cxr_lightning.sweeps.contrasts import Interval

WIDTH = 6.6  # inches; the page shows at least 5, so that text stays legible on a phone
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
# Okabe and Ito's colours, which colour-blind readers tell apart, from dark to light.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def svg(figure: Figure) -> str:
    """The figure as text for a page, and closed."""
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "cxr_lightning", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()


def means(
    cells: Mapping[str, Interval],
    seeds: Mapping[str, Sequence[float]],
    baseline: float | None,
    label: str,
) -> Figure:
    """A row a cell: its mean with its interval, its seeds as small circles, the baseline."""
    figure, axes = _rows(list(cells))
    for row, (name, mean) in enumerate(cells.items()):
        _interval(axes, row, mean)
        axes.plot(seeds[name], [row + 0.25] * len(seeds[name]), "o", mfc="none", color="0.4", ms=4)
    if baseline is not None:
        axes.axvline(baseline, color="0.5", linestyle=":")
        axes.text(baseline, -0.6, " always the largest class", color="0.3", fontsize=8, va="center")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(f"{label}: mean with 95% interval (square), seeds (circles)")
    return figure


def differences(rows: Mapping[str, Interval], label: str) -> Figure:
    """A row a difference, with its interval, and the line of no difference."""
    figure, axes = _rows(list(rows))
    for row, difference in enumerate(rows.values()):
        _interval(axes, row, difference)
    axes.axvline(0, color="0.5", linestyle=":")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_xlabel(f"{label}, percentage points with 95% interval")
    return figure


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Counts, rows the true class, shaded by the row's share."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{count}\n{share[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    names = [name if len(name) < 9 else f"{name[:7]}." for name in classes]
    axes.set_xticks(range(len(classes)), names, fontsize=8, rotation=25)
    axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    axes.set_title(title, fontsize=10)
    return figure


def recalls(cells: Mapping[str, Mapping[str, Interval]], classes: Sequence[str]) -> Figure:
    """A row a class, a marker a cell: its recall, mean over seeds, with its interval."""
    figure, axes = _rows(classes, extra=0.25 * len(cells))
    styles = zip(cycle(MARKERS), cycle(COLOURS), strict=False)
    for number, ((name, values), (marker, colour)) in enumerate(
        zip(cells.items(), styles, strict=False)
    ):
        offset = (number - (len(cells) - 1) / 2) * 0.7 / max(len(cells), 1)
        for row, of_class in enumerate(classes):
            recall = values[of_class]
            if recall.low is not None and recall.high is not None:
                ends = [recall.low, recall.high]
                axes.plot(ends, [row + offset] * 2, color=colour, linewidth=0.9, alpha=0.7)
        rows, middles = np.arange(len(classes)) + offset, [values[k].value for k in classes]
        axes.plot(middles, rows, marker, color=colour, label=name, linestyle="")
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("recall (sensitivity), mean over seeds, with 95% interval")
    _legend(axes, len(cells))
    return figure


def curves(cells: Mapping[str, Sequence["pd.Series[float]"]], label: str) -> Figure:
    """A line a cell, the mean over its seeds an epoch; thin lines are the seeds (by epoch)."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    styles = zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False)
    for (name, runs), (colour, marker, line) in zip(cells.items(), styles, strict=False):
        mean = pd.concat(runs, axis=1).mean(axis=1)
        for one in runs if len(runs) > 1 else []:
            axes.plot(one.index + 1, one, linestyle=line, color=colour, alpha=0.35, linewidth=0.7)
        axes.plot(mean.index + 1, mean, marker, linestyle=line, ms=4, color=colour, label=name)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, len(cells))
    return figure


def costs(cells: Mapping[str, tuple[float, float]]) -> Figure:
    """A marker a cell: minutes of training (mean over seeds) against accuracy."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    styles = zip(cycle(MARKERS), cycle(COLOURS), strict=False)
    for (name, (minutes, accuracy)), (marker, colour) in zip(cells.items(), styles, strict=False):
        axes.plot(minutes, accuracy, marker, color=colour, label=name, linestyle="", markersize=8)
    axes.set(xlabel="minutes of training a run", ylabel="test accuracy")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="0.9")
    _legend(axes, len(cells))
    return figure


def _rows(names: Sequence[str], extra: float = 0.0) -> tuple[Figure, Axes]:
    height = 1.1 + 0.42 * len(names) + extra
    figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure, axes


def _interval(axes: Axes, row: int, estimate: Interval) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color="black", linewidth=1.5)
    axes.plot(estimate.value, row, "s", color="black", markersize=6)


def _legend(axes: Axes, n: int) -> None:
    """Beneath the chart, where it hides nothing."""
    axes.figure.legend(
        frameon=False, fontsize=9, loc="outside lower center", ncols=min(n, 2), handlelength=3.5
    )
