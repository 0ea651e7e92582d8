"""Strata of a table: which columns, which bands, and numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from cxr_lightning.errors import ConfigError
from cxr_lightning.metrics import clopper_pearson
from cxr_lightning.subgroups import check_columns, columns_of, subgroups

CLASSES = ["NORMAL", "TUBERCULOSIS"]


def table(n: int, **columns: list[object]) -> pd.DataFrame:
    first = {"path": [f"{i}.png" for i in range(n)], "label": [0] * n, "split": ["test"] * n}
    frame = pd.DataFrame({**first, "group": [f"p{i}" for i in range(n)], "source": ["a"] * n})
    return frame.assign(**columns)


def said(right: list[bool], labels: list[int]) -> np.ndarray:
    called = [k if ok else 1 - k for ok, k in zip(right, labels, strict=True)]
    return np.eye(2)[called] * 0.8 + 0.1


def test_the_worst_stratum_comes_first_and_too_few_patients_last() -> None:
    labels = np.array([0, 1] * 16)
    view = ["pa"] * 12 + ["ap"] * 12 + ["lateral"] * 8
    right = [True] * 11 + [False] + [True] * 9 + [False] * 3 + [True] * 8
    given = table(32, view=view)
    found = subgroups(given, labels, said(right, labels.tolist()), CLASSES, ["view"])
    assert found["stratum"].tolist() == ["ap", "pa", "lateral"]
    assert found["accuracy"].tolist()[:2] == [9 / 12, 11 / 12]
    low, high = clopper_pearson(9, 12)
    assert (found["accuracy/low"][0], found["accuracy/high"][0]) == (low, high)
    assert np.isnan(found["accuracy"][2])
    assert found["note"][2] == "too few patients (8) for numbers"
    assert found["n"].tolist() == [12, 12, 8]


def test_ages_are_in_bands_and_dicom_s_are_read() -> None:
    ages = ["014Y", "015Y", "006M", "70", "", "044Y", "0", "64", "65", "24"]
    given = table(10, age=ages)
    found = subgroups(given, np.zeros(10, int), said([True] * 10, [0] * 10), CLASSES, ["age"])
    n = dict(zip(found["stratum"], found["n"], strict=True))
    assert n == {"0–14": 3, "15–24": 2, "25–44": 1, "45–64": 1, "≥ 65": 2, "unknown": 1}


def test_without_a_wish_columns_with_few_values_are_taken() -> None:
    given = table(
        20,
        sex=["m", "f"] * 10,
        age=list(range(20)),
        width=[512, 1024] * 10,
        note=[f"text {i}" for i in range(20)],
        device=["x"] * 20,
    )
    assert columns_of(given, None) == ["sex", "age"]
    assert columns_of(given, ["device", "elsewhere"]) == ["device"]
    assert columns_of(given.assign(source=["a", "b"] * 10), None)[0] == "source"


def test_many_numbers_that_are_asked_for_are_in_quarters() -> None:
    given = table(40, dose=[float(i) for i in range(40)])
    found = subgroups(given, np.zeros(40, int), said([True] * 40, [0] * 40), CLASSES, ["dose"])
    assert found["n"].tolist() == [10] * 4


def test_a_column_that_no_table_has_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no column `veiw`\. The columns here: source, view"):
        check_columns([table(2, view=["a", "b"])], ["veiw"])
    check_columns([table(2), table(2, view=["a", "b"])], ["view"])
