"""Folder levels: split, class, subfolders; no level is silently taken for another one."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_lightning.data.index import find_images, index_folders
from cxr_lightning.errors import ConfigError, DataError

CLASSES = {"NORMAL": [], "PNEUMONIA": [], "TUBERCULOSIS": ["TB"]}
WriteImages = Callable[..., list[str]]
KERMANY = {f"{split}/{name}": 2 for split in ("train", "test") for name in ("NORMAL", "PNEUMONIA")}


def refused(root: Path, classes: dict[str, list[str]] | None = None, **given: str) -> str:
    with pytest.raises(DataError) as caught:
        index_folders(root, classes, **given)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("TRAINING_SET", "Test-Set")])
def test_training_and_testing_are_splits_and_no_classes(
    train: str, test: str, write_images: WriteImages, tmp_path: Path
) -> None:
    folders = {f"{train}/glioma": 2, f"{train}/none": 1, f"{test}/glioma": 1, f"{test}/none": 1}
    write_images(tmp_path, folders)
    index = index_folders(tmp_path)
    assert index.classes == ("glioma", "none")
    assert sorted(index.table["split"]) == ["test", "test", "train", "train", "train"]


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("above", ["chest_xray", "chest_xray/chest_xray", "a/b"])
def test_a_root_too_high_names_the_right_one(
    above: str,
    classes: dict[str, list[str]] | None,
    write_images: WriteImages,
    tmp_path: Path,
) -> None:
    write_images(tmp_path / above, KERMANY)
    message = refused(tmp_path, classes)
    assert f"Not class folders, under {tmp_path}: `{above}`." in message
    assert f" Set data.root={tmp_path / above}, or" in message
    assert len(index_folders(tmp_path / above, classes).table) == 8


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_kermanys_zip_with_its_copy_inside_names_the_copy(
    classes: dict[str, list[str]] | None, write_images: WriteImages, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    for folder in (".", "chest_xray", "__MACOSX/chest_xray"):
        write_images(root / folder, KERMANY)
    advice = f" Set data.root={root / 'chest_xray'}, or"
    assert advice in refused(root, classes)
    # One level higher still, the innermost is the right one.
    assert advice in refused(tmp_path, classes)
    shutil.rmtree(root / "chest_xray")
    assert index_folders(root, classes).table["path"].str.startswith("t").all()


def test_several_folders_with_splits_are_listed_with_the_tree(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"siteA/train/x": 2, "siteA/test/y": 1, "siteB/train/x": 3})
    message = refused(tmp_path)
    assert "`siteA`, `siteB`" in message
    assert message.endswith(
        f"Found under {tmp_path}:\n  siteA/test/y (1 image)\n  siteA/train/x (2 images)\n"
        "  siteB/train/x (3 images)"
    )


def test_splits_below_classes_are_refused(write_images: WriteImages, tmp_path: Path) -> None:
    write_images(tmp_path, {"NORMAL/train": 2, "NORMAL/test": 1, "TB/train": 2, "TB/test": 1})
    for classes in (None, CLASSES):
        assert "ove the folders to the expected places" in refused(tmp_path, classes)


def test_a_class_folder_given_as_root_names_the_folder_above(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, KERMANY)
    root = tmp_path / "train/NORMAL"
    message = refused(root)
    assert f"2 images under {root} lie in no class folder" in message
    assert f"set data.root={tmp_path}." in message
    # Without split folders it is the folder just above.
    write_images(tmp_path / "flat/sick", {".": 1})
    assert f"set data.root={tmp_path / 'flat'}." in refused(tmp_path / "flat/sick")


def test_images_directly_in_a_split_folder_are_counted(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {**KERMANY, "train": 3})
    message = refused(tmp_path, CLASSES)
    assert message.startswith(
        f"3 images under {tmp_path} lie in no class folder, for example train/"
    )
    assert "data.manifest" in message


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_a_folder_that_holds_the_classes_again_is_no_class(
    classes: dict[str, list[str]] | None, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"NORMAL": 2, "TB": 2, "more/normal": 1, "more/Tb": 1})
    message = refused(tmp_path, classes)
    assert ": `more`. Expected: " in message
    assert f" Set data.root={tmp_path / 'more'}, or" in message


def test_a_class_folder_below_another_class_is_refused_and_below_its_own_is_not(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path / "own", {"NORMAL/NORMAL": 2, "TB/tb": 1})
    assert index_folders(tmp_path / "own", CLASSES).table["label"].tolist() == [0, 0, 2]
    write_images(tmp_path / "other", {"train/NORMAL/old/TB": 2, "train/TB": 1})
    assert "`train/NORMAL/old`" in refused(tmp_path / "other")


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_listed_classes_one_level_deeper_name_the_right_root(
    classes: dict[str, list[str]] | None, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"images/NORMAL": 2, "images/TB": 2})
    assert f" Set data.root={tmp_path / 'images'}, or" in refused(tmp_path, classes)


def test_images_and_masks_are_kinds_of_pictures_and_no_classes(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"images": 2, "masks": 2})
    message = refused(tmp_path)
    assert ": `images`, `masks`. Expected: " in message
    assert (
        "not called after a kind of picture, like masks, unless data.classes lists it." in message
    )
    # Who means it can say so.
    assert index_folders(tmp_path, {"images": [], "masks": []}).table["label"].sum() == 2


def test_one_class_is_refused_with_the_tree_unless_the_classes_are_listed(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"set/healthy": 2, "set/sick": 3})
    message = refused(tmp_path)
    assert f"Only one class folder, `set`, under {tmp_path}; two are needed." in message
    assert message.endswith("\n  set/healthy (2 images)\n  set/sick (3 images)")
    # A test set of one disease.
    write_images(tmp_path / "tb", {"test/TB": 3})
    assert index_folders(tmp_path / "tb", CLASSES).table["label"].tolist() == [2, 2, 2]


def copy_names(root: Path, source: str, target: str, ending: str = "") -> None:
    (root / target).mkdir(parents=True)
    for file in sorted((root / source).iterdir()):
        shutil.copy(file, root / target / f"{file.stem}{ending}{file.suffix}")


@pytest.mark.parametrize("ending", ["", "_mask", "-Seg"])
@pytest.mark.parametrize("split", ["", "train/"])
def test_images_beside_their_masks_are_refused_until_one_folder_is_chosen(
    split: str, ending: str, write_images: WriteImages, tmp_path: Path
) -> None:
    # The layout of the COVID-19 Radiography Database.
    write_images(tmp_path, {f"{split}COVID/images": 4, f"{split}NORMAL": 3})
    copy_names(tmp_path, f"{split}COVID/images", f"{split}COVID/masks", ending)
    message = refused(tmp_path)
    assert "hold masks: images (4 images), masks (4 images)." in message
    assert "data.subfolder=images." in message
    index = index_folders(tmp_path, subfolder="Images")
    assert not index.table["path"].str.contains("masks").any()
    assert index.table["label"].value_counts().to_dict() == {0: 4, 1: 3}
    assert index.notes[0] == "data.subfolder=Images leaves out 4 images of other subfolders."
    assert len(index_folders(tmp_path, subfolder="*").table) == 4 + 4 + 3


def test_a_few_masks_or_masks_below_the_images_are_refused_too(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"COVID": 9, "NORMAL": 3})
    (tmp_path / "COVID/lung masks").mkdir()
    for path in paths[:2]:
        shutil.copy(tmp_path / path, tmp_path / "COVID/lung masks")
    assert "hold masks: . (9 images), lung masks (2 images)." in refused(tmp_path)
    assert len(index_folders(tmp_path, subfolder=".").table) == 9 + 3


def test_a_subfolder_that_no_class_has_is_an_error_with_those_there_are(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"COVID/images": 2, "NORMAL": 1})
    with pytest.raises(ConfigError, match=r"data\.subfolder=pictures: .* Found: `\.`, `images`\."):
        index_folders(tmp_path, subfolder="pictures")


@pytest.mark.parametrize("ending", ["", "_mask"])
def test_the_same_films_in_two_subfolders_are_refused_whatever_these_are_called(
    ending: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/TB/large": 4, "train/NORMAL": 1})
    copy_names(tmp_path, "train/TB/large", "train/TB/lungs", ending)
    message = refused(tmp_path)
    assert "of train TB repeat the same file names: large (4 images), lungs (4 images)." in message
    assert len(index_folders(tmp_path, subfolder="large").table) == 4 + 1


def test_folders_of_patients_may_repeat_names_where_a_pattern_tells_them_apart(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"sick/p1": 2, "well/q1": 2})
    copy_names(tmp_path, "sick/p1", "sick/p2")
    message = refused(tmp_path)
    assert "p1 (2 images), p2 (2 images)" in message
    pattern = re.search(r'data\.group_pattern="(.*?)"', message)
    assert pattern is not None
    index = index_folders(tmp_path, None, pattern[1])
    assert index.table["group"].tolist() == ["p1", "p1", "p2", "p2", "q1", "q1"]


def test_different_images_in_subfolders_belong_to_the_class(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"sick/hospital A": 3, "sick/hospital B": 2, "well": 1})
    assert index_folders(tmp_path).table["label"].tolist() == [0] * 5 + [1]


@pytest.mark.parametrize("where", ["TB", "train/TB"])
@pytest.mark.parametrize("classes", [None, CLASSES])
def test_a_class_folder_without_images_is_an_error_also_where_others_have_some(
    where: str, classes: dict[str, list[str]] | None, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/NORMAL": 2, "test/NORMAL": 1, "test/TB": 1, "test/PNEUMONIA": 1})
    (tmp_path / where).mkdir()
    message = f"Class folders without images under {tmp_path}: `{where}`. Add or unpack"
    assert message in refused(tmp_path, classes)
    (tmp_path / where / "all.zip").write_bytes(b"PK")
    assert message in refused(tmp_path, classes)
    # Beside listed classes, other folders may hold what they like.
    (tmp_path / where).rename(tmp_path / "documents")
    assert len(index_folders(tmp_path, CLASSES).table) == 5


def test_a_split_that_lacks_a_class_is_told(write_images: WriteImages, tmp_path: Path) -> None:
    write_images(tmp_path, {"train/NORMAL": 2, "train/TB": 2, "val/TB": 1, "test/normal": 1})
    assert index_folders(tmp_path).notes[0] == "The test folder has no images of TB."
    notes = index_folders(tmp_path, CLASSES).notes
    assert notes == [
        "The train folder has no images of PNEUMONIA.",
        "The test folder has no images of PNEUMONIA, TUBERCULOSIS.",
    ]


def test_images_beside_the_split_folders_are_told(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"train/a": 2, "test/a": 1, "train/b": 2, "test/b": 1, "a": 3})
    assert index_folders(tmp_path).notes == [
        "3 images outside the split folders (for example a/a(000).png): they train if "
        "split=official."
    ]


def test_each_real_folder_is_read_once_and_other_folders_through_their_links(
    write_images: WriteImages, tmp_path: Path
) -> None:
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    paths = write_images(root, {"a": 3, "b": 2})
    write_images(elsewhere, {"c": 4})
    (root / "a/itself").symlink_to(root)
    (root / "a/above").symlink_to(tmp_path)
    (root / "A-again").symlink_to(root / "a")
    (root / "c").symlink_to(elsewhere / "c")
    (root / "c_again").symlink_to(elsewhere / "c")
    expected = [*paths, *(f"c/c(00{i}).png" for i in range(4))]
    assert find_images(root)[1] == expected
    table = index_folders(root, {name: [] for name in "abc"}).table
    assert table["path"].tolist() == expected
    assert table["label"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
