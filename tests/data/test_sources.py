"""Every source finds its images, or says in a sentence where it looked and how to get them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from cxr_lightning.config import DataConfig, conf_dir, parse
from cxr_lightning.data.sources import KAGGLE_URL, find_root, load_index
from cxr_lightning.errors import ConfigError, DataError

MakeConfig = Callable[..., DataConfig]
WriteImages = Callable[..., list[str]]
BY_HAND = f"Or download {KAGGLE_URL} in a browser, unpack it, and set data.root=/path/to/it."


def phantom_config(cache_dir: Path, **changes: Any) -> DataConfig:
    """conf/data/phantom.yaml with as few images as there can be."""
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/phantom.yaml"))
    assert isinstance(node, dict)
    few = {"cache_dir": cache_dir, "phantom": {"n_images": 40, "seed": 0}}
    return parse(DataConfig, {**node, **few, **changes})


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, download: Callable[[str], str]) -> None:
    module = ModuleType("kagglehub")
    module.dataset_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", module)


def must_not_download(dataset: str) -> str:
    raise AssertionError(f"{dataset} was downloaded")


def test_a_missing_kaggle_folder_says_where_it_looked_and_how_to_get_it(
    kaggle_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        f"No images at {tmp_path / 'xrays'} (data.root): the folder does not exist. "
        f"Download {KAGGLE_URL} and unpack it there, or add data.download=true."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load_index(kaggle_config(Path("xrays")))


def test_another_missing_folder_does_not_speak_of_kaggle(
    kaggle_config: MakeConfig, tmp_path: Path
) -> None:
    message = f"No images at {tmp_path / 'xrays'} (data.root): the folder does not exist."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load_index(kaggle_config(tmp_path / "xrays", name="folder"))


def test_without_a_root_the_key_to_set_is_named(kaggle_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=f"data=kaggle needs data.root=.*{re.escape(KAGGLE_URL)}"):
        load_index(kaggle_config(None))
    with pytest.raises(ConfigError, match=r"^data=folder needs data\.root=/path/to/images\.$"):
        load_index(kaggle_config(None, name="folder"))


def test_a_download_without_network_says_how_to_do_it_by_hand(
    kaggle_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(dataset: str) -> str:
        raise OSError("Name or service not known")

    fake_kagglehub(monkeypatch, no_network)
    message = (
        "Kaggle's set could not be downloaded (OSError: Name or service not known). " + BY_HAND
    )
    for root in (None, tmp_path / "not there"):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            load_index(kaggle_config(root, download=True))


def test_a_download_without_kagglehub_says_how_to_install_it_or_do_it_by_hand(
    kaggle_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    message = "data.download=true needs kagglehub: pip install 'cxr-lightning[kaggle]'. " + BY_HAND
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load_index(kaggle_config(None, download=True))


def test_what_was_downloaded_is_indexed(
    kaggle_config: MakeConfig,
    write_images: WriteImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def download(dataset: str) -> str:
        asked.append(dataset)
        write_images(tmp_path / "versions/2", {"train/NORMAL": 2, "test/NORMAL": 1})
        return str(tmp_path / "versions/2")

    fake_kagglehub(monkeypatch, download)
    index = load_index(kaggle_config(None, download=True))
    assert asked == ["jtiptj/chest-xray-pneumoniacovid19tuberculosis"]
    assert index.root == tmp_path / "versions/2"
    assert len(index.table) == 3


def test_nothing_is_downloaded_where_the_folder_exists(
    kaggle_config: MakeConfig,
    write_images: WriteImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_kagglehub(monkeypatch, must_not_download)
    write_images(tmp_path / "xrays", {"train/NORMAL": 2, "test/TURBERCULOSIS": 1})
    index = load_index(kaggle_config(tmp_path / "xrays", download=True))
    assert index.classes == ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")
    assert index.table["label"].tolist() == [3, 1, 1]


def test_kaggle_may_lack_a_test_or_a_train_folder(
    kaggle_config: MakeConfig, write_images: WriteImages, tmp_path: Path
) -> None:
    # Whether it can be split so, the split says: pooled needs no test folder.
    write_images(tmp_path / "a", {"train/NORMAL": 1, "val/NORMAL": 1})
    assert load_index(kaggle_config(tmp_path / "a")).table["split"].tolist() == ["train", "val"]
    write_images(tmp_path / "b", {"test/NORMAL": 2})
    assert load_index(kaggle_config(tmp_path / "b")).table["split"].tolist() == ["test"] * 2


def test_classes_may_be_numbers(
    kaggle_config: MakeConfig, write_images: WriteImages, tmp_path: Path
) -> None:
    # As Hydra reads data.classes={0:[],1:[2]}
    write_images(tmp_path / "set", {"0": 1, "1": 1, "2": 1})
    config = kaggle_config(tmp_path / "set", classes={0: [], 1: [2]})
    assert load_index(config).table["label"].tolist() == [0, 1, 1]


def test_an_archive_that_is_still_packed_is_named(
    kaggle_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    message = f"data.root={tmp_path / 'archive.zip'} is a file. Unpack it"
    with pytest.raises(DataError, match=re.escape(message)):
        load_index(kaggle_config(tmp_path / "archive.zip"))


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    message = f"The cache {tmp_path / 'file'} (data.cache_dir) cannot be written: "
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_index(phantom_config(tmp_path / "file"))
    assert "CXR_LIGHTNING_CACHE" in str(caught.value)


def test_a_manifest_needs_no_root_and_takes_precedence_over_the_folders(
    kaggle_config: MakeConfig, write_images: WriteImages, tmp_path: Path
) -> None:
    root = tmp_path / "xrays"
    paths = write_images(root, {"train/NORMAL": 2, "test/NORMAL": 2})
    manifest = tmp_path / "xrays/list.csv"
    manifest.write_text(f"file,label\n{paths[0]},TB\n")
    columns = {"path": "file"}
    no_pattern = {"name": "folder", "group_pattern": None}
    for where in (root, None):
        config = kaggle_config(where, **no_pattern, manifest=manifest, columns=columns)
        index = load_index(config)
        assert index.root == root
        assert index.table[["path", "label"]].to_numpy().tolist() == [[paths[0], 3]]


def test_phantoms_are_drawn_once_into_the_cache(tmp_path: Path) -> None:
    config = phantom_config(tmp_path / "cache")
    index = load_index(config)
    assert index.root == tmp_path / "cache/phantom-40-seed0"
    assert index.classes == ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")
    assert len(index.table) == 40
    assert set(index.table["split"]) == {"train", "val", "test"}
    # The file name carries the patient.
    assert index.table["group"].str.fullmatch(r"patient\d+").all()
    drawn = {path: path.stat().st_mtime_ns for path in index.root.rglob("*.png")}
    assert find_root(config) == index.root
    assert drawn == {path: path.stat().st_mtime_ns for path in index.root.rglob("*.png")}


def test_phantoms_are_drawn_where_root_says_but_not_over_other_images(
    write_images: WriteImages, tmp_path: Path
) -> None:
    new, own = tmp_path / "new", tmp_path / "own"
    assert find_root(phantom_config(tmp_path / "cache", root=new)) == new
    assert len(list(new.rglob("*.png"))) == 40
    # Someone forgot data=kaggle, or data=folder, before data.root.
    (path,) = write_images(own, {"train/NORMAL": 1})
    with pytest.raises(DataError, match=f"{own}.* X-rays of your own: data=kaggle or data=folder"):
        find_root(phantom_config(tmp_path / "cache", root=own))
    assert [file.name for file in own.rglob("*.*")] == [Path(path).name]


def test_a_cache_with_other_phantoms_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "phantom-40-seed0"
    folder.mkdir()
    (folder / "README.txt").write_text("n_images=40 seed=0 drawing_version=0")
    with pytest.raises(DataError, match=re.escape(str(folder))):
        find_root(phantom_config(tmp_path))
