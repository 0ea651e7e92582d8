"""What a manifest CSV says, however a program wrote it; what is said where it is unclear."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr_lightning.config import ColumnsConfig
from cxr_lightning.data.index import index_folders, index_manifest
from cxr_lightning.errors import ConfigError, DataError

CLASSES = {
    "COVID19": ["COVID-19"],
    "NORMAL": [],
    "PNEUMONIA": [],
    "TUBERCULOSIS": ["TURBERCULOSIS", "TB"],
}
WriteImages = Callable[..., list[str]]


def write_manifest(folder: Path, text: str) -> Path:
    file = folder / "manifest.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_manifest_gives_label_split_group_and_source(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path / "images", {"x": 4})
    manifest = write_manifest(
        tmp_path,
        "path,label,split,group,source\n"
        f"{paths[0]},tb,train,anna,clinic\n"
        f"{paths[1]},NORMAL,Validation,007,clinic\n"
        f"{paths[2]},Covid-19,,,web\n"  # no split, no patient
        f"{paths[3]},NA,test,NA,web\n",  # text, not a missing value
    )
    index = index_manifest(manifest, tmp_path / "images", {**CLASSES, "NA": []})
    assert index.root == tmp_path / "images"
    assert index.table.to_numpy().tolist() == [
        [paths[0], 3, "train", "anna", "clinic"],
        [paths[1], 1, "val", "007", "clinic"],
        [paths[2], 0, "", paths[2], "web"],
        [paths[3], 4, "test", "NA", "web"],
    ]


def test_a_manifest_of_paths_and_labels_is_enough(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"p1": 2, "p2": 1})
    text = "path,label\n" + "".join(
        f"{path},{label}\n" for path, label in zip(paths, ["no", "yes", "no"], strict=True)
    )
    index = index_manifest(write_manifest(tmp_path, text), group_pattern=r"(p\d)/")
    assert index.classes == ("no", "yes")
    assert index.table["label"].tolist() == [0, 1, 0]
    assert index.table["split"].tolist() == ["", "", ""]
    assert index.table["group"].tolist() == ["p1", "p1", "p2"]
    assert index.table["source"].tolist() == [tmp_path.name] * 3


def test_manifest_columns_may_have_other_names(write_images: WriteImages, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"file,finding,set,patient\n{path},TB,test,7\n")
    columns = ColumnsConfig(path="file", label="finding", split="set", group="patient")
    table = index_manifest(manifest, classes=CLASSES, columns=columns).table
    assert table.iloc[0].tolist() == [path, 3, "test", "7", tmp_path.name]


@pytest.mark.parametrize("missing", ["path", "label", "group"])
def test_a_missing_manifest_column_is_named(
    missing: str, write_images: WriteImages, tmp_path: Path
) -> None:
    # `group` may be absent, but not once the configuration gives it another name.
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"path,label\n{path},TB\n")
    columns = ColumnsConfig().model_copy(update={missing: "patient_id"})
    message = (
        f"{manifest} has no column `patient_id`; its columns are path, label. "
        f"Rename one, or name yours with data.columns.{missing}=…"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        index_manifest(manifest, classes=CLASSES, columns=columns)


def test_manifest_files_that_do_not_exist_are_counted_and_named(
    write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    rows = "".join(f"lost{i:02d}.png,TB\n" for i in range(23))
    manifest = write_manifest(tmp_path, f"path,label\n{path},TB\n{rows}")
    with pytest.raises(DataError, match=f"23 files of {manifest} are not under") as caught:
        index_manifest(manifest, classes=CLASSES)
    # Twenty names, then the rest as a number.
    assert "`lost19.png` and 3 more" in str(caught.value)
    assert "lost20" not in str(caught.value)
    assert "data.root" in str(caught.value)


@pytest.mark.parametrize("again", ["x/x(000).png", "./x/x(000).png", "x//x(000).png"])
def test_a_path_listed_twice_is_an_error(
    again: str, write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"path,label,split\n{path},TB,train\n{again},TB,test\n")
    with pytest.raises(DataError, match=re.escape(f"lists `{path}` more than once")):
        index_manifest(manifest, classes=CLASSES)


@pytest.mark.parametrize(
    ("label", "split", "message"),
    [
        ("TB", "fold 1", "Unknown `fold 1` in column `split`"),
        ("flu", "train", "Unknown `flu` among the `label`"),
        ("", "train", "column `label` is empty in 1 row, for example in `x/x(001).png,,train`"),
    ],
)
def test_an_unknown_split_or_label_in_a_manifest_is_named(
    label: str, split: str, message: str, write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 2})
    manifest = write_manifest(
        tmp_path, f"path,label,split\n{paths[0]},TB,train\n{paths[1]},{label},{split}\n"
    )
    for classes in (CLASSES, None) if label == "" else (CLASSES,):
        with pytest.raises(DataError, match=re.escape(message)):
            index_manifest(manifest, classes=classes)


UTF8 = "cannot be read as a CSV in UTF-8"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no images"),
        ("path,label\nGrün.png,TB\n".encode("latin-1"), f"{UTF8}: 'utf-8' .* byte 0xfc .*iconv"),
        ("path,label\na.png,정상\n".encode("cp949"), f"{UTF8}: 'utf-8' .* byte 0xc1 .*cp949"),
        (b"PK\x03\x04\x14\x00\xff\x00", UTF8),  # an Excel workbook
        (
            b"path,label\na.png,TB,x\n",
            f"{UTF8}: its header names 2 columns, but `a.png,TB,x` has 3",
        ),
        (b"path,label\n", "lists no images"),
        (b"path,label\n,\n,,\n", "lists no images"),
        (b"\n,,\n", "lists no images"),
    ],
)
def test_a_manifest_that_is_no_table_is_an_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content)
    with pytest.raises(DataError, match=f"{manifest} {message}"):
        index_manifest(manifest, classes=CLASSES)


def test_a_manifest_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lost\.csv does not exist \(data\.manifest\)"):
        index_manifest(tmp_path / "lost.csv", classes=CLASSES)


def as_written(text: str, how: str) -> bytes:
    """The same table as different programs write it."""
    numbered = "".join(f"{i or ''},{line}\n" for i, line in enumerate(text.split()))
    ways = {
        "semicolon": text.replace(",", ";"),
        "tab": text.replace(",", "\t"),
        "bar": text.replace(",", "|"),
        "Excel's first line": "sep=;\n" + text.replace(",", ";"),
        "empty rows": "\n,,,,\n" + text.replace("\n", "\n\n , ,,,,,\n"),
        "Windows lines": text.replace("\n", "\r\n"),
        "blanks": text.replace(",", " , "),
        "empty columns": text.replace("\n", ",,\n"),
        "backslashes": text.replace("/", "\\"),
        "row numbers": numbered,
    }
    text = ways.get(how, text)
    coding = {"byte order mark": "utf-8-sig", "Unicode text": "utf-16"}.get(how, "utf-8")
    return text.encode(coding)


WAYS = ["as it is", "semicolon", "tab", "bar", "Excel's first line", "empty rows", "Windows lines",
        "blanks", "empty columns", "backslashes", "row numbers", "byte order mark",
        "Unicode text"]  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_a_table_is_the_same_however_a_program_writes_it(
    how: str, write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"정상": 1, "폐렴": 1})
    text = f"path,label,split,group,sex\n{paths[0]},정상,train,1,f\n{paths[1]},폐렴,test,2,m\n"
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(as_written(text, how))
    index = index_manifest(manifest)
    assert index.classes == ("정상", "폐렴")
    assert list(index.table.columns) == ["path", "label", "split", "group", "source", "sex"]
    assert index.table.to_numpy().tolist() == [
        [paths[0], 0, "train", "1", tmp_path.name, "f"],
        [paths[1], 1, "test", "2", tmp_path.name, "m"],
    ]


def test_a_quoted_separator_is_no_separator(write_images: WriteImages, tmp_path: Path) -> None:
    paths = write_images(tmp_path, {"x": 2})
    rows = "".join(f'{path};"a, {i}; b"\n' for i, path in enumerate(paths))
    index = index_manifest(write_manifest(tmp_path, "path;label\n" + rows))
    assert index.classes == ("a, 0; b", "a, 1; b")


def test_absolute_paths_below_the_root_are_made_relative_and_others_are_kept(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    (inside,), (outside,) = write_images(root, {"x": 1}), write_images(elsewhere, {"y": 1})
    text = f"path,label\n{root / inside},TB\n{elsewhere / outside},NORMAL\n"
    table = index_manifest(write_manifest(root, text), classes=CLASSES).table
    assert sorted(table["path"]) == sorted([inside, str(elsewhere / outside)])
    # The same file by both paths is one image.
    manifest = write_manifest(root, text + f"{inside},TB\n")
    with pytest.raises(DataError, match=re.escape(f"lists `{inside}` more than once")):
        index_manifest(manifest, classes=CLASSES)


@pytest.mark.parametrize(("disk", "listed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_found_however_its_letters_are_composed(
    disk: Any, listed: Any, write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {unicodedata.normalize(disk, "흉부"): 1})
    text = unicodedata.normalize(listed, f"path,label\n{path},TB\n")
    table = index_manifest(write_manifest(tmp_path, text), classes=CLASSES).table
    assert table["path"].tolist() == [path]


def test_further_columns_follow_and_those_of_a_taken_name_are_renamed(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 2})
    manifest = write_manifest(
        tmp_path,
        "view,file,finding,label,class,NORMAL,predicted,age\n"
        f"pa,{paths[1]},TB,old,k,1,p,40\nap,{paths[0]},NORMAL,new,m,0,q,\n",
    )
    columns = ColumnsConfig(path="file", label="finding")
    table = index_manifest(manifest, classes=CLASSES, columns=columns).table
    further = [
        "view",
        "manifest_label",
        "manifest_class",
        "manifest_NORMAL",
        "manifest_predicted",
        "age",
    ]
    assert list(table.columns[5:]) == further
    assert table[further].to_numpy().tolist() == [
        ["ap", "new", "m", "0", "q", ""],
        ["pa", "old", "k", "1", "p", "40"],
    ]
    assert table["label"].tolist() == [1, 3]


def test_two_columns_of_one_name_are_an_error_unless_one_is_spelled_exactly(
    write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"path,Label,LABEL\n{path},TB,NORMAL\n")
    with pytest.raises(DataError, match=r"several columns called `label`; .* path, Label, LABEL"):
        index_manifest(manifest, classes=CLASSES)
    manifest = write_manifest(tmp_path, f"path,Label,label\n{path},TB,NORMAL\n")
    table = index_manifest(manifest, classes=CLASSES).table
    assert table[["label", "Label"]].to_numpy().tolist() == [[1, "TB"]]


def test_a_row_without_a_path_is_an_error(write_images: WriteImages, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"path,label\n{path},TB\n ,TB\n,NORMAL\n")
    with pytest.raises(DataError, match=r"column `path` is empty in 2 rows, .* `,TB`"):
        index_manifest(manifest, classes=CLASSES)


def test_one_class_is_too_few_unless_the_classes_are_listed(
    write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"path,label\n{path},TB\n")
    with pytest.raises(DataError, match="Only one class, `TB`, among the `label`, "):
        index_manifest(manifest)
    assert index_manifest(manifest, classes=CLASSES).table["label"].tolist() == [3]


@pytest.mark.parametrize("name", ["label", "path", "group", "predicted", "error"])
def test_a_class_cannot_have_the_name_of_a_column_of_predictions(
    name: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {f"train/{name}": 1, "train/other": 1})
    message = f"A class cannot be called `{name}`"
    with pytest.raises(ConfigError, match=message) as caught:
        index_folders(tmp_path)
    # Its advice works.
    assert f"data.classes={{{name}_class:[{name}],…}}" in str(caught.value)
    index = index_folders(tmp_path, {f"{name}_class": [name], "other": []})
    assert index.table.set_index("path")["label"].to_dict() == {
        f"train/{name}/{name}(000).png": 0,
        "train/other/other(000).png": 1,
    }


def test_folders_and_a_manifest_of_the_same_images_agree(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"train/NORMAL": 2, "test/TURBERCULOSIS": 2})
    rows = "".join(f"{path},{Path(path).parts[1]},{Path(path).parts[0]}\n" for path in paths)
    manifest = write_manifest(tmp_path, "path,label,split\n" + rows)
    folders, listed = index_folders(tmp_path, CLASSES), index_manifest(manifest, classes=CLASSES)
    pd.testing.assert_frame_equal(folders.table, listed.table)
    assert folders.ignored == {".csv": 1}
