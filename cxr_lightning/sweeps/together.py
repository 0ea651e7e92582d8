"""The seeds of a cell as one network: the mean of what they say of each image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_lightning.metrics import Estimate, estimate
from cxr_lightning.sweeps.cells import Cell

SHOWN = {"accuracy": "accuracy", "recall_macro": "macro recall", "f1_macro": "macro F1"}


def all_seeds_together(cells: Sequence[Cell], n_resamples: int) -> pd.DataFrame:
    """One row per cell of several seeds that tested the same images: its metrics, as text.

    The probabilities of the seeds are averaged, as `cxr-evaluate ckpt_path=[…]` does. Intervals are
    by patient, as those of a single run.
    """
    return pd.DataFrame([_row(cell, n_resamples) for cell in cells if _can_be_averaged(cell)])


def _can_be_averaged(cell: Cell) -> bool:
    first, *others = (seed.tests[["path", "part"]] for seed in cell.seeds)
    return len(others) > 0 and all(first.equals(other) for other in others)


def _row(cell: Cell, n_resamples: int) -> dict[str, str]:
    first = cell.seeds[0]
    found = estimate(
        first.labels,
        np.mean([seed.probabilities for seed in cell.seeds], axis=0),
        cell.classes,
        list(first.tests["group"]),
        n_resamples=n_resamples,
    )
    names = SHOWN | {f"recall/{k}": f"recall/{k}" for k in cell.classes}
    row = {"cell": cell.name, "seeds": str(len(cell.seeds)), "n": str(len(first.labels))}
    return row | {title: _text(found[name]) for name, title in names.items() if name in found}


def _text(found: Estimate) -> str:
    if found.value is None:
        return ""
    limits = "" if found.low is None else f" ({100 * found.low:.1f}–{100 * (found.high or 0):.1f})"
    return f"{100 * found.value:.1f}%{limits}"
