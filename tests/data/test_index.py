"""Which files are images, of which class and split; order, links and what is passed over."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


def backwards(folder: Path, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk on a disk that lists the last name first."""
    for found, subfolders, files in WALK(folder, **options):
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
    manifest = tmp_path / "manifest.csv"
    rows = (f"{path},{number % 2}" for number, path in enumerate(reversed(paths)))
    manifest.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
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


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("Images follow.")
    message = re.escape(f"No images under {tmp_path} (1 other files)")
    with pytest.raises(DataError, match=message):
        index_folders(tmp_path, CLASSES)
    with pytest.raises(DataError, match=message):
        find_images(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error_but_not_a_hidden_one(
    write_images: WriteImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, {"train/NORMAL": 1, "train/COVID19": 1, "test/NORMAL": 1})
    (tmp_path / ".Trash").mkdir()
    scandir, refused = os.scandir, {tmp_path / ".Trash"}

    def listed(folder: str) -> object:
        if Path(folder) in refused:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listed)  # root may list everything
    assert len(index_folders(tmp_path).table) == 3
    refused.add(tmp_path / "test" / "NORMAL")
    with pytest.raises(DataError, match=r"test/NORMAL cannot be read \(Permission denied\)"):
        index_folders(tmp_path)
    with pytest.raises(DataError, match="test/NORMAL cannot be read"):
        find_images(tmp_path)


def test_one_image_can_be_asked_for_and_a_missing_one_is_named(
    write_images: WriteImages, tmp_path: Path
) -> None:
    (path,) = write_images(tmp_path, {"NORMAL": 1})
    assert find_images(tmp_path / path) == (tmp_path / "NORMAL", ["NORMAL(000).png"], {})
    with pytest.raises(DataError, match=re.escape(f"No images at {tmp_path / 'lost'} (input)")):
        find_images(tmp_path / "lost")
