"""Whose image it is: Kaggle's patients, and patterns that match nothing or little."""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from cxr_lightning.config import conf_dir
from cxr_lightning.data.index import index_folders, index_manifest
from cxr_lightning.data.patients import PatientPattern
from cxr_lightning.data.splits import leaking_groups
from cxr_lightning.errors import ConfigError

WriteImages = Callable[..., list[str]]
KAGGLE = str(OmegaConf.load(conf_dir() / "data/kaggle.yaml").group_pattern)

# Real names of Kaggle's set: what lies in train and in test never shares prefix and number.
KAGGLE_PATIENTS = {
    "test/NORMAL/IM-0001-0001.jpeg": "IM-0001",
    "test/NORMAL/IM-0011-0001-0002.jpeg": "IM-0011",
    "train/NORMAL/IM-0115-0001.jpeg": "IM-0115",
    "train/NORMAL/IM-0383-0001.jpeg": "IM-0383",
    "test/NORMAL/NORMAL2-IM-0381-0001.jpeg": "NORMAL2-IM-0381",
    "train/NORMAL/NORMAL2-IM-0383-0001.jpeg": "NORMAL2-IM-0383",
    "train/NORMAL/NORMAL2-IM-0588-0001-0002.jpeg": "NORMAL2-IM-0588",
    "train/PNEUMONIA/person80_bacteria_389.jpeg": "person80_bacteria",
    "train/PNEUMONIA/person80_virus_150.jpeg": "person80_virus",
    "test/PNEUMONIA/person80_bacteria_393.jpeg": "person80_bacteria",
    "test/PNEUMONIA/person8_virus_27.jpeg": "person8_virus",
    "train/COVID19/COVID19(460).jpg": "",
    "test/TURBERCULOSIS/Tuberculosis-661.png": "",
}


@pytest.mark.parametrize("path", KAGGLE_PATIENTS)
def test_a_patient_of_kaggle_is_prefix_and_number_in_the_whole_set(path: str) -> None:
    assert PatientPattern(KAGGLE).patient(path) == KAGGLE_PATIENTS[path]


def test_kaggle_numbers_under_two_prefixes_do_not_leak_and_one_child_in_both_folders_does(
    write_images: WriteImages, tmp_path: Path
) -> None:
    folders = {"train/NORMAL": 3, "test/NORMAL": 2, "test/TB": 1}
    paths = write_images(tmp_path, folders)
    names = ["IM-0115-0001", "IM-0116-0001", "NORMAL2-IM-0115-0001-0002",
             "NORMAL2-IM-0116-0001", "IM-0117-0001", "x"]  # fmt: skip
    order = [path for folder in folders for path in paths if path.startswith(f"{folder}/")]
    for path, name in zip(order, names, strict=True):
        (tmp_path / path).rename((tmp_path / path).parent / f"{name}.jpeg")
    table = index_folders(tmp_path, None, KAGGLE).table
    assert leaking_groups(table) == []
    (tmp_path / "test/NORMAL/IM-0117-0001.jpeg").rename(tmp_path / "test/NORMAL/IM-0116-2.jpeg")
    assert leaking_groups(index_folders(tmp_path, None, KAGGLE).table) == ["IM-0116"]


@pytest.mark.parametrize("pattern", [r"(patient\\d+)", r"^(\d+)/", "(Patient 1)"])
def test_a_pattern_that_matches_no_file_is_an_error_that_shows_it(
    pattern: str, write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"a/patient1": 1, "b/patient2": 1})
    message = (
        f"data.group_pattern={pattern} matches none of 2 images, "
        "for example a/patient1/patient1(000).png."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        index_folders(tmp_path, None, pattern)


def test_kaggles_own_pattern_may_find_nobody_but_a_spoilt_one_may_not(
    write_images: WriteImages, tmp_path: Path
) -> None:
    # Someone's own films in Kaggle's layout.
    write_images(tmp_path, {"a": 2, "b": 1})
    index = index_folders(tmp_path, None, KAGGLE)
    assert index.table["group"].tolist() == index.table["path"].tolist()
    assert index.notes == [
        "No patient is known for 2 of 2 images of a, 1 of 1 image of b, for example "
        "a/a(000).png: each of them counts as a patient of its own."
    ]
    for pattern in (KAGGLE.replace("\\", "\\\\"), r"(person\d+)"):
        with pytest.raises(ConfigError, match="matches none of 3 images"):
            index_folders(tmp_path, None, pattern)


def test_images_that_a_pattern_misses_are_counted_with_an_example(
    write_images: WriteImages, tmp_path: Path
) -> None:
    write_images(tmp_path, {"a/p1": 1, "a/other": 3, "b/p2": 2})
    index = index_folders(tmp_path, None, r"(p\d)/")
    assert index.notes == [
        "No patient is known for 3 of 4 images of a, for example a/other/other(000).png: "
        "each of them counts as a patient of its own."
    ]
    assert index.table["group"].nunique() == 2 + 3
    # Where all are matched, there is nothing to say.
    assert index_folders(tmp_path, None, "/([^/]+)/").notes == []


def test_a_pattern_without_a_group_names_the_patient_by_all_it_matches() -> None:
    assert PatientPattern(r"p\d+").patient("a/p12_3.png") == "p12"
    assert PatientPattern(r"(p)\d-(x)").patient("a/p1-x.png") == "p/x"
    assert PatientPattern(r"(q)?p\d").patient("a/p1.png") == "p1"


def test_a_pattern_in_korean_matches_as_macos_writes_names() -> None:
    path = unicodedata.normalize("NFD", "정상/환자7_1.png")
    assert PatientPattern(r"(환자\d+)").patient(path) == "환자7"


@pytest.mark.parametrize("pattern", [r"(patient\d+", "[", "*"])
def test_what_is_no_regular_expression_is_a_sentence(pattern: str, tmp_path: Path) -> None:
    message = f"data.group_pattern={pattern} is not a regular expression: "
    with pytest.raises(ConfigError, match=re.escape(message)):
        index_folders(tmp_path, None, pattern)


def test_a_manifests_patients_need_no_pattern_and_blank_ones_may_have_one(
    write_images: WriteImages, tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"x": 2, "p7": 1})
    manifest = tmp_path / "manifest.csv"

    def groups(*listed: str, pattern: str) -> list[str]:
        rows = [f"{p},{p[0]},{g}" for p, g in zip(paths, listed, strict=True)]
        manifest.write_text("\n".join(["path,label,group", *rows]), encoding="utf-8")
        table: pd.DataFrame = index_manifest(manifest, group_pattern=pattern).table
        return list(table["group"])

    assert groups("1", "2", "3", pattern="matches nothing") == ["1", "2", "3"]
    # paths[0] is p7's, by its path; `P7` of the table is the same patient, in the first spelling.
    assert groups("", "P7", "3", pattern=r"(p\d)/") == ["p7", "p7", "3"]
