"""Which names are one, everywhere: classes, patients, splits, sources, columns."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cxr_lightning.data.index import index_folders, index_manifest
from cxr_lightning.data.names import key, listed_classes, split_of, unify
from cxr_lightning.data.splits import leaking_groups
from cxr_lightning.errors import ConfigError

WriteImages = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NORMAL", "Normal"),
        ("NORMAL ", "NORMAL"),
        ("viral pneumonia", "Viral__Pneumonia"),
        ("COVID-19", "covid 19"),
        ("P 1", "p_1"),
        ("정상", unicodedata.normalize("NFD", "정상")),
        ("Straße", "STRASSE"),
        ("\tGrün\u00a0zwei", "GRU\u0308N - ZWEI"),
    ],
)
def test_these_names_are_one(one: str, other: str) -> None:
    assert key(one) == key(other)
    assert key(key(one)) == key(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("정상", "폐렴"),
        ("C++", "C"),
        ("C#", "C"),
        ("COVID+", "COVID-"),
        ("-1", "1"),  # CheXpert's labels
        ("COVID-19", "COVID19"),
        ("1.5", "15"),
        ("Grün", "Grun"),
        ("норма", "пневмония"),
        ("1_2", "12"),
    ],
)
def test_these_names_are_two(one: str, other: str) -> None:
    assert key(one) != key(other)


@pytest.mark.parametrize("one", ["정상", "C++", "+", "норма", "健康"])
def test_classes_in_any_script_stay_apart_also_where_they_are_listed(
    one: str, write_images: WriteImages, tmp_path: Path
) -> None:
    other = {"정상": "폐렴", "C++": "C", "+": "-", "норма": "пневмония", "健康": "肺炎"}[one]
    write_images(tmp_path, {f"train/{one}": 2, f"train/{unicodedata.normalize('NFD', other)}": 1})
    classes = index_folders(tmp_path).classes
    assert set(classes) == {one, other}
    # As cxr-evaluate asks for the classes of a checkpoint.
    again = index_folders(tmp_path, {name: [] for name in (one, other)})
    assert again.table["label"].value_counts().to_dict() == {0: 2, 1: 1}


def test_folders_that_differ_in_spelling_are_one_class_and_it_is_said(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/Normal": 1, "test/NORMAL": 3, "train/sick": 1, "test/Sick": 1})
    index = index_folders(tmp_path)
    # The most frequent spelling is shown; of equal ones, the first by path (test before train).
    assert index.classes == ("NORMAL", "Sick")
    assert index.table["label"].value_counts().to_dict() == {0: 4, 1: 2}
    assert index.notes == [
        "Spelled differently, but the same class: `NORMAL` = `Normal`, `Sick` = `sick`."
    ]


def test_cells_of_a_manifest_that_differ_in_spelling_are_one_name(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 4})
    rows = ["NORMAL,P 1,Train,web", "NORMAL ,p_1,TESTING,Web", "normal,P-1, test,web", "TB,2,,"]
    manifest = tmp_path / "list.csv"
    lines = [f"{path},{row}" for path, row in zip(paths, rows, strict=True)]
    manifest.write_text("\n".join([" Path ,LABEL,GROUP,Split,source", *lines]), encoding="utf-8")
    index = index_manifest(manifest)
    assert index.classes == ("NORMAL", "TB")
    assert index.table.drop(columns="path").to_numpy().tolist() == [
        [0, "train", "P 1", "web"],
        [0, "test", "P 1", "web"],
        [0, "test", "P 1", "web"],
        [1, "", "2", tmp_path.name],
    ]
    # The patient of train and test is one, however it is written.
    assert leaking_groups(index.table) == ["P 1"]
    assert index.notes == [
        "Spelled differently, but the same class: `NORMAL` = `normal`.",
        "Spelled differently, but the same patient: `P 1` = `p_1` = `P-1`.",
        "Spelled differently, but the same source: `web` = `Web`.",
    ]


def test_two_files_are_two_patients_however_alike_their_names(
    write_images: WriteImages, tmp_path: Path
) -> None:
    for folder in ("x", "y"):
        (path,) = write_images(tmp_path, {folder: 1})
        (tmp_path / path).rename(tmp_path / folder / "IMG-1.png")
        (path,) = write_images(tmp_path, {folder: 1})
        (tmp_path / path).rename(tmp_path / folder / "img_1.png")
    assert index_folders(tmp_path).table["group"].nunique() == 4


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"NORMAL": [], "Normal": []}, "`Normal` of Normal is also a spelling of NORMAL"),
        ({"A": ["healthy"], "B": ["Healthy "]}, "`Healthy ` of B is also a spelling of A"),
        ({"TB": [], "Lung": ["t b", "tb"]}, "`tb` of Lung is also a spelling of TB"),
    ],
)
def test_listed_names_that_are_one_cannot_be_two_classes(
    classes: dict[str, list[str]], message: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"NORMAL": 1})
    with pytest.raises(ConfigError, match=re.escape(message)):
        index_folders(tmp_path, classes)


def test_a_class_may_be_listed_under_spellings_of_its_own_name() -> None:
    assert listed_classes({"TB": ["tb", "Tuberculosis"]}) == {"tb": "TB", "tuberculosis": "TB"}


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *((w, "train") for w in ("train", "Training", "TRAIN ", "training_set", "train-data")),
        *((w, "val") for w in ("val", "valid", "validation", "Validate", "dev", "eval")),
        *((w, "test") for w in ("test", "Testing", "Test Set", "holdout", "hold_out")),
        *((w, "") for w in ("trainee", "tests", "NORMAL", "", "set", "testing ground")),
    ],
)
def test_words_for_splits(word: str, split: str) -> None:
    assert split_of(word) == split


def test_unify_takes_the_most_frequent_spelling_then_the_first() -> None:
    names = pd.Series(["b", "B", "a ", "A", "B", "a"])
    united, notes = unify(names, "class")
    assert united.tolist() == ["B", "B", "a", "a", "B", "a"]
    assert notes == ["Spelled differently, but the same class: `B` = `b`, `a` = `A`."]
    assert unify(pd.Series(["a", "a", "b"]), "class")[1] == []
