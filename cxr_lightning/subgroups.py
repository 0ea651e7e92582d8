"""The metrics of each stratum of the test images: by view, sex, age, source, device …"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from cxr_lightning.errors import ConfigError
from cxr_lightning.metrics import FEWEST_PATIENTS, Estimate, Floats, Ints, estimate

MOST_STRATA = 12  # a column with more values is no grouping, unless it is numeric
ADULT = 15  # years, from which on computer reading of films for TB is recommended
AGES = [0, ADULT, 25, 45, 65]
SIZES = ("width", "height", "rows", "columns")  # of files: `cxr-audit` looks at them
SHOWN = ("accuracy", "balanced_accuracy", "auroc_macro")


def columns_of(table: pd.DataFrame, asked: Sequence[str] | None) -> list[str]:
    """The columns to group by: those asked for that are there; None: those that have few values.

    table: the datamodule's. `source` and ages are among them, other numbers only if asked for.
    """
    there = _columns(table)
    if asked is not None:
        return [name for name in asked if name in there]
    there = [name for name in there if name.lower() not in SIZES]
    return [name for name in there if is_age(name) or _has_few(table[name])]


def check_columns(tables: Sequence[pd.DataFrame], asked: Sequence[str] | None) -> None:
    """Raises `ConfigError` for a column that none of the tables has."""
    there = list(dict.fromkeys(name for table in tables for name in _columns(table)))
    for name in asked or []:
        if name not in there:
            raise ConfigError(
                f"subgroups: there is no column `{name}`. The columns here: {', '.join(there)}."
            )


def _columns(table: pd.DataFrame) -> list[str]:
    return ["source", *table.columns[5:]]


def subgroups(
    table: pd.DataFrame,
    labels: Ints,
    probabilities: Floats,
    classes: Sequence[str],
    columns: Sequence[str],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per stratum of each column, the lowest accuracy first; those of few patients last.

    table: the rows of the n images, with `group` (the patient) and `columns`. Columns: `column,
    stratum, n, patients`, then accuracy, balanced_accuracy, auroc_macro, recall/k and auroc/k, each
    with `/low` and `/high`; and `note`, which says where fewer than ten patients are too few.
    """
    rows = []
    for column in columns:
        strata, of_column = strata_of(table[column], column), []
        for stratum in dict.fromkeys(strata.dropna()):
            is_in = (strata == stratum).to_numpy()
            groups = list(table["group"][is_in])
            row: dict[str, object] = {"column": column, "stratum": stratum}
            row |= {"n": int(is_in.sum()), "patients": len(set(groups)), "note": ""}
            if len(set(groups)) < FEWEST_PATIENTS:
                row["note"] = f"too few patients ({len(set(groups))}) for numbers"
            else:
                found = estimate(
                    *(labels[is_in], probabilities[is_in], classes, groups),
                    n_resamples=n_resamples,
                    seed=seed,
                )
                row |= _numbers(found, classes)
            of_column.append(row)
        rows += sorted(of_column, key=lambda row: (row["note"] != "", row.get("accuracy", 2.0)))
    return pd.DataFrame(rows)


def _numbers(found: dict[str, Estimate], classes: Sequence[str]) -> dict[str, object]:
    names = [*SHOWN, *(f"recall/{k}" for k in classes), *(f"auroc/{k}" for k in classes)]
    numbers: dict[str, object] = {}
    for name in names:
        one = found[name]
        numbers |= {name: one.value, f"{name}/low": one.low, f"{name}/high": one.high}
    return numbers


def strata_of(values: pd.Series, column: str) -> pd.Series:
    """The stratum of each row, as text; ages in bands, other numbers with many values in quarters.

    What is empty is "unknown".
    """
    text = values.fillna("").astype(str).str.strip()
    numbers = years_of(text) if is_age(column) else pd.to_numeric(text, errors="coerce")
    if numbers.notna().any() and (text[numbers.isna()] == "").all():
        bands = None
        if is_age(column):
            names = [f"{a}–{b - 1}" for a, b in pairwise(AGES)]
            bands = pd.cut(numbers, [*AGES, np.inf], right=False, labels=[*names, f"≥ {AGES[-1]}"])
        elif numbers.nunique() > MOST_STRATA:
            bands = pd.qcut(numbers, 4, duplicates="drop")
        if bands is not None:
            return bands.astype(object).where(bands.notna(), "unknown").astype(str)
    return text.where(text != "", "unknown")


def years_of(text: pd.Series) -> pd.Series:
    """Ages as numbers, or as DICOM writes them: 034Y, 006M."""
    parts = text.str.extract(r"^(\d+(?:\.\d+)?)([YMWD]?)$")
    return pd.to_numeric(parts[0]) / parts[1].map({"": 1, "Y": 1, "M": 12, "W": 52, "D": 365})


def is_age(column: str) -> bool:
    """Whether a column of this name holds ages."""
    return column.lower() in ("age", "patient_age", "patient age", "patientage", "age_years")


def _has_few(values: pd.Series) -> bool:
    """Whether they are a grouping: 2 to 12 values, not numbers such as widths."""
    text = values.fillna("").astype(str)
    return 1 < text.nunique() <= MOST_STRATA
