"""Which files are images, of which class, split and patient; what is said where it is unclear."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from cxr_lightning.config import ColumnsConfig, conf_dir
from cxr_lightning.data.index import find_images, index_folders, index_manifest
from cxr_lightning.errors import DataError

CLASSES = {
    "COVID19": ["COVID-19"],
    "NORMAL": [],
    "PNEUMONIA": [],
    "TUBERCULOSIS": ["TURBERCULOSIS", "TB"],
}
WriteImages = Callable[..., list[str]]
WALK = os.walk


def write_manifest(folder: Path, text: str) -> Path:
    file = folder / "manifest.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_kaggle_layout_gives_class_and_split(write_images: WriteImages, tmp_path: Path) -> None:
    paths = write_images(
        tmp_path,
        {"train/COVID19": 2, "val/NORMAL": 1, "test/PNEUMONIA": 1, "test/TURBERCULOSIS": 1},
    )
    index = index_folders(tmp_path, CLASSES)
    assert index.root == tmp_path
    assert index.classes == ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")
    assert list(index.table.columns) == ["path", "label", "split", "group", "source"]
    assert index.table.to_numpy().tolist() == [
        [paths[0], 2, "test", paths[0], tmp_path.name],
        [paths[1], 3, "test", paths[1], tmp_path.name],
        [paths[2], 0, "train", paths[2], tmp_path.name],
        [paths[3], 0, "train", paths[3], tmp_path.name],
        [paths[4], 1, "val", paths[4], tmp_path.name],
    ]
    assert index.ignored == {}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("validation", "val"),
        ("TEST", "test"),
    ],
)
def test_split_folders_have_several_spellings(
    folder: str, split: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {f"{folder}/NORMAL": 1})
    assert index_folders(tmp_path, CLASSES).table["split"].tolist() == [split]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("COVID19", "COVID19"),
        ("Covid-19", "COVID19"),
        ("covid_19", "COVID19"),
        ("TURBERCULOSIS", "TUBERCULOSIS"),  # as Kaggle's folders spell it
        ("Tuberculosis", "TUBERCULOSIS"),
        ("tb", "TUBERCULOSIS"),
    ],
)
def test_class_folders_match_in_any_case_and_punctuation(
    folder: str, name: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {f"train/{folder}": 1})
    index = index_folders(tmp_path, CLASSES)
    assert [index.classes[label] for label in index.table["label"]] == [name]


def test_without_classes_the_folders_name_them_in_order(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"sick": 1, "healthy": 2})
    index = index_folders(tmp_path)
    assert index.classes == ("healthy", "sick")
    assert index.table["label"].tolist() == [0, 0, 1]
    assert index.table["split"].tolist() == ["", "", ""]


def test_folders_below_a_class_folder_belong_to_the_class(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/NORMAL/hospital A/2021": 1, "test/NORMAL": 1})
    index = index_folders(tmp_path, CLASSES)
    assert index.table["label"].tolist() == [1, 1]
    assert index.table["split"].tolist() == ["test", "train"]


def test_files_that_are_no_images_are_ignored_and_counted(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"train/NORMAL": 2})
    image = tmp_path / paths[0]
    for junk in ("notes.txt", "old.zip", "MORE.TXT", ".DS_Store", "train/NORMAL/LICENSE"):
        (tmp_path / junk).write_text("no image")
    shutil.copy(image, tmp_path / "train/NORMAL/._NORMAL(000).png")
    for folder in ("__MACOSX/train/NORMAL", "train/NORMAL/.ipynb_checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(image, tmp_path / folder / "copy.png")
    index = index_folders(tmp_path, CLASSES)
    assert index.table["path"].tolist() == paths
    # Hidden: .DS_Store, ._NORMAL(000).png, the copies in __MACOSX and in .ipynb_checkpoints.
    expected = {".txt": 2, ".zip": 1, "LICENSE": 1, "hidden": 4}
    assert index.ignored == expected
    assert find_images(tmp_path) == (tmp_path, paths, expected)


def backwards(folder: Path, followlinks: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk on a disk that lists the last name first."""
    for found, subfolders, files in WALK(folder, followlinks=followlinks):
        subfolders.sort(reverse=True)
        files.sort(reverse=True)
        yield found, subfolders, files


def test_order_is_by_path_whatever_the_disk_says(
    write_images: WriteImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.walk", backwards)
    # As text, "b c/…" would come before "b/…"; folder by folder it comes after.
    for folder in ("b c", "b", "a"):
        write_images(tmp_path, {f"train/{folder}": 2})
    paths = index_folders(tmp_path).table["path"].tolist()
    assert [Path(path).parts[1] for path in paths] == ["a", "a", "b", "b", "b c", "b c"]
    assert find_images(tmp_path)[1] == paths
    listed = "\n".join(["path,label", *(f"{path},x" for path in reversed(paths))])
    manifest = write_manifest(tmp_path, listed)
    assert index_manifest(manifest).table["path"].tolist() == paths


def test_an_unknown_class_folder_is_named_with_the_known_ones(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/NORMAL": 1, "train/LUNG CANCER": 1, "test/effusion": 1})
    message = (
        f"Unknown `LUNG CANCER`, `effusion` among the class folders under {tmp_path}. "
        "Known: COVID19, NORMAL, PNEUMONIA, TUBERCULOSIS."
    )
    with pytest.raises(DataError, match=re.escape(message)):
        index_folders(tmp_path, CLASSES)


def test_an_image_outside_the_class_folders_is_an_error(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/NORMAL": 1, "train": 2})
    message = f"2 images under {tmp_path} lie in no class folder, for example train/train(000).png"
    with pytest.raises(DataError, match=re.escape(message)):
        index_folders(tmp_path, CLASSES)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("Images follow.")
    message = re.escape(f"No images under {tmp_path} (1 other files)")
    with pytest.raises(DataError, match=message):
        index_folders(tmp_path, CLASSES)
    with pytest.raises(DataError, match=message):
        find_images(tmp_path)


def test_one_image_can_be_asked_for_and_a_missing_one_is_named(
    write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"NORMAL": 1})
    assert find_images(tmp_path / path) == (tmp_path / "NORMAL", ["NORMAL(000).png"], {})
    with pytest.raises(DataError, match=re.escape(f"No images at {tmp_path / 'lost'} (input)")):
        find_images(tmp_path / "lost")


def kaggle_groups(paths: list[str], root: Path, write_images: WriteImages) -> list[str]:
    write_images(root, {"any": 1})
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "any/any(000).png", root / path)
    shutil.rmtree(root / "any")
    pattern = OmegaConf.load(conf_dir() / "data/kaggle.yaml").group_pattern
    table = index_folders(root, CLASSES, pattern).table.set_index("path")
    return [str(table.loc[path, "group"]) for path in paths]


def test_kaggle_persons_are_counted_apart_in_train_and_test(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = [
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "val/PNEUMONIA/person1_bacteria_3.jpeg",
        "train/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/person1_virus_7.jpeg",
        "train/PNEUMONIA/person11_bacteria_1.jpeg",
    ]
    assert kaggle_groups(paths, tmp_path, write_images) == [
        *["person1_bacteria"] * 3,
        "person1_virus",
        *["test/person1_virus"] * 2,
        "person11_bacteria",
    ]


def test_kaggle_normal_films_are_one_child_with_and_without_the_prefix(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = [
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
        "test/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg",
        "train/NORMAL/IM-0116-0001.jpeg",
    ]
    assert kaggle_groups(paths, tmp_path, write_images) == [*["IM-0115"] * 3, "IM-0116"]


def test_a_kaggle_file_without_a_patient_is_its_own(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = ["train/COVID19/COVID19(1).jpg", "test/TURBERCULOSIS/Tuberculosis-1.jpg"]
    assert kaggle_groups(paths, tmp_path, write_images) == paths


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
        f"Name yours with data.columns.{missing}=…"
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
        ("TB", "holdout", "Unknown `holdout` in column `split`"),
        ("flu", "train", "Unknown `flu` among the `label`"),
        ("", "train", "Unknown `` among the `label`"),
    ],
)
def test_an_unknown_split_or_label_in_a_manifest_is_named(
    label: str, split: str, message: str, write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 2})
    manifest = write_manifest(
        tmp_path, f"path,label,split\n{paths[0]},TB,train\n{paths[1]},{label},{split}\n"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        index_manifest(manifest, classes=CLASSES)


def test_an_unlabelled_row_is_an_error_also_where_the_manifest_names_the_classes(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 2})
    manifest = write_manifest(tmp_path, f"path,label\n{paths[0]},TB\n{paths[1]},\n")
    with pytest.raises(DataError, match=re.escape("Unknown `` among the `label`")):
        index_manifest(manifest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a CSV in UTF-8"),
        ("path,label\nGrün.png,TB\n".encode("latin-1"), "cannot be read as a CSV in UTF-8"),
        (b"path,label\n", "lists no images"),
    ],
)
def test_a_manifest_that_is_no_table_is_an_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{manifest} {message}")):
        index_manifest(manifest, classes=CLASSES)


def test_a_manifest_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lost\.csv does not exist \(data\.manifest\)"):
        index_manifest(tmp_path / "lost.csv", classes=CLASSES)


def test_a_manifest_with_a_byte_order_mark_is_read(
    write_images: WriteImages, tmp_path: Path
) -> None:
    # Excel writes one; unread, it would become part of the first column's name.
    (path,) = write_images(tmp_path, {"x": 1})
    manifest = write_manifest(tmp_path, f"\ufeffpath,label\n{path},TB\n")
    assert index_manifest(manifest, classes=CLASSES).table["path"].tolist() == [path]


def test_folders_and_a_manifest_of_the_same_images_agree(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"train/NORMAL": 2, "test/TURBERCULOSIS": 2})
    rows = "".join(f"{path},{Path(path).parts[1]},{Path(path).parts[0]}\n" for path in paths)
    manifest = write_manifest(tmp_path, "path,label,split\n" + rows)
    folders, listed = index_folders(tmp_path, CLASSES), index_manifest(manifest, classes=CLASSES)
    pd.testing.assert_frame_equal(folders.table, listed.table)
    assert folders.ignored == {".csv": 1}
