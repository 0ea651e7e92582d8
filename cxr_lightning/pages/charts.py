"""A report's charts: cells are told apart by marker and line style, not by colour alone."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cxr_lightning.contrasts import Interval

WIDTH = 6.6  # inches; the page shows at least 5, so that text stays legible on a phone
# Okabe and Ito's colours, which colour-blind readers tell apart, from dark to light. 8 markers, 7
# colours and 4 lines: together they repeat after 56 cells.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LEARNING = {
    "val/f1_macro": "Validation macro F1",
    "val/loss": "Validation loss",
    "train/loss": "Training loss",
}
MARKERS, LINES = ("s", "o", "^", "D", "v", "P", "X", "*"), ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Chart:
    """A picture for the page (data URL). alt: what it shows, for those who cannot see it."""

    title: str
    source: str
    alt: str


def chart(title: str, figure: Figure, words: str) -> Chart:
    """The figure as a picture that needs no other file; the same figure gives the same text."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "cxr_lightning", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Chart(title, f"data:image/svg+xml;base64,{encoded}", f"{title}. {words}")


def intervals(
    title: str,
    rows: Mapping[str, Interval],
    label: str,
    line: tuple[float, str] | None = None,
    *,
    dots: Sequence[Sequence[float]] = (),
    below: Mapping[str, Interval] | None = None,
) -> Chart:
    """One row per name with its value and limits; shares, drawn as percent.

    line: where a vertical line stands, and what it means. dots: further values of each row. below:
    rows to compare with, grey, under a line.
    """
    n_above, rows = len(rows), {**rows, **(below or {})}
    figure = Figure((WIDTH, 1.1 + 0.42 * len(rows)), layout="constrained")  # no pyplot: no backend
    axes = figure.subplots()
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)  # a name may hold $
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    limits = np.array([(i.low, i.high) for i in rows.values()], dtype=np.float64)  # None is nan
    colours = ["black"] * n_above + ["0.5"] * (len(rows) - n_above)
    axes.hlines(range(len(rows)), limits[:, 0], limits[:, 1], color=colours, linewidth=1.5)
    values = [i.value for i in rows.values()]
    axes.scatter(values, range(len(rows)), marker="s", c=colours, s=36, zorder=3)
    if below:
        axes.axhline(n_above - 0.5, color="0.5", linewidth=0.8)
    for row, seeds in enumerate(dots):
        axes.plot(seeds, [row + 0.25] * len(seeds), "o", mfc="none", color="0.4", ms=4)
    if line is not None:
        axes.axvline(line[0], color="0.5", linestyle=":")
        axes.text(line[0], -0.6, f" {line[1]}", color="0.3", fontsize=8, va="center")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_xlabel(label)
    words = [f"{name}: {100 * i.value:.1f} ({i.limits})" for name, i in rows.items()]
    return chart(title, figure, "; ".join(words))


def against(
    title: str, points: Mapping[str, tuple[Interval, Interval]], labels: tuple[str, str]
) -> Chart:
    """One point per name, with limits in both directions; on the dashed line both are equal."""
    figure = Figure((WIDTH, 4.6), layout="constrained")
    axes, words = figure.subplots(), []
    styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    for (name, (x, y)), (colour, marker) in zip(points.items(), styles, strict=False):
        bars = [_bars(one) for one in (x, y)]
        axes.errorbar(
            *(x.value, y.value),
            xerr=bars[0],
            yerr=bars[1],
            fmt=marker,
            color=colour,
            label=name,
            ms=6,
            linewidth=1,
        )
        words.append(f"{name}: {100 * x.value:.1f} and {100 * y.value:.1f}")
    axes.plot([0, 1], [0, 1], "--", color="0.5", linewidth=0.8)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, 1), ylim=(0, 1))
    axes.text(0.98, 0.99, "no drop", color="0.4", fontsize=8, ha="right", va="top", rotation=25)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=""))
    _legend_beneath(figure)
    return chart(title, figure, "; ".join(words))


def lines(title: str, of: Mapping[str, pd.Series], labels: tuple[str, str]) -> Chart:
    """One line per name over the index of its values."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for (name, values), (colour, line) in zip(of.items(), styles, strict=False):
        axes.plot(values.index, values, line, color=colour, label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    _legend_beneath(figure)
    return chart(title, figure, ", ".join(of))


def _legend_beneath(figure: Figure) -> None:
    """Where it hides nothing; a name may hold $."""
    legend = figure.legend(
        frameon=False, fontsize=9, loc="outside lower center", ncols=2, handlelength=3.5
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _bars(found: Interval) -> list[list[float]] | None:
    if found.low is None or found.high is None:
        return None
    return [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]


def curves(title: str, cells: Mapping[str, pd.DataFrame]) -> Chart:
    """One line per cell, the mean over its runs (columns) by epoch; thin lines are the runs."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    axes, words = figure.subplots(), []
    styles = zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False)
    for (name, runs), (colour, marker, line) in zip(cells.items(), styles, strict=False):
        mean, last = runs.mean(axis=1), runs.ffill().iloc[-1].mean()
        if runs.shape[1] > 1:
            axes.plot(
                runs.index + 1, runs.to_numpy(), line, color=colour, alpha=0.35, linewidth=0.7
            )
        axes.plot(mean.index + 1, mean, marker, linestyle=line, ms=4, color=colour, label=name)
        words.append(f"{name} ends at {last:.3f}")
    axes.set(xlabel="epoch", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_beneath(figure)
    return chart(title, figure, "; ".join(words))


def learning(frames: Mapping[tuple[str, int], pd.DataFrame]) -> list[Chart]:
    """The learning curves that there are. frames: `curves.csv` by epoch, of a cell and its run."""
    drawn = []
    for column, title in LEARNING.items():
        runs = {key: frame[column].dropna() for key, frame in frames.items() if column in frame}
        if runs := {key: series for key, series in runs.items() if len(series)}:
            table = pd.concat(runs, axis=1)  # one column per cell and run
            names = dict.fromkeys(name for name, _ in runs)
            drawn.append(curves(title, {n: pd.DataFrame(table[n]) for n in names}))
    return drawn
