"""A folder of images to a CSV: the numbers of the test, and a reason for what is missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from cxr_lightning import predict, train
from cxr_lightning.errors import CheckpointError, DataError

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
FOLDERS = ["COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS"]  # as Kaggle spells the last one


@pytest.fixture(scope="module")
def images(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]
) -> Path:
    root = tmp_path_factory.mktemp("images")
    # 40 px, read at 32: resizing is a part of what must be the same.
    write_images(root, {f"train/{name}": 4 for name in FOLDERS}, size=40)
    write_images(root, {f"test/{name}": 3 for name in FOLDERS}, size=40)
    for path in (root / "test" / "NORMAL").glob("*.png"):
        with Image.open(path) as image:  # colours and JPEG, much larger: read another way
            image.convert("RGB").resize((200, 160)).save(path.with_suffix(".jpg"))
        path.unlink()
    return root


@pytest.fixture(scope="module")
def trained(
    images: Path, composed: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    folder.mkdir()
    options = [
        *("data=kaggle", f"data.root='{images}'", f"data.cache_dir='{folder / 'cache'}'"),
        *("data.image_size=32", "data.num_workers=0", "data.batch_size=5"),
        *("split.val_fraction=0", "trainer=cpu", "trainer.precision=32-true"),
        *("trainer.max_epochs=2", "+trainer.enable_progress_bar=false"),
        *("logger=none", "callbacks.progress=null", "callbacks.augmentation=null"),
    ]
    train.run(composed("train", *options, f"folder='{folder}'"))
    return folder


@pytest.fixture
def predicted(
    trained: Path, composed: Callable[..., DictConfig], tmp_path: Path
) -> Callable[..., pd.DataFrame]:
    """`predicted(folder, …)`: the CSV of `cxr-predict input=folder …`."""

    def start(where: Path, *overrides: str) -> pd.DataFrame:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        options = [
            f"ckpt_path='{trained / 'checkpoints' / 'last.ckpt'}'",
            f"input='{where}'",
            f"folder='{out}'",
            "num_workers=0",
        ]
        written = predict.run(composed("predict", *options, *overrides))
        return pd.read_csv(written, keep_default_na=False, na_values={c: [""] for c in CLASSES})

    return start


def test_predictions_are_those_of_the_runs_test(
    trained: Path, images: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    tested = pd.read_csv(trained / "predictions.csv")
    table = predicted(images / "test", "batch_size=7")
    assert list(table.columns) == ["path", "predicted", *CLASSES, "error"]
    assert ("test/" + table["path"]).tolist() == tested["path"].tolist()
    assert table["predicted"].tolist() == tested["predicted"].tolist()
    np.testing.assert_allclose(table[CLASSES], tested[CLASSES], atol=1e-6)
    assert tested[CLASSES].nunique().min() > 1  # each image has its own
    assert set(table["error"]) == {""}


def test_worker_processes_change_nothing(
    images: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    alone = predicted(images / "test" / "COVID19")
    with_worker = predicted(images / "test" / "COVID19", "num_workers=1", "batch_size=2")
    pd.testing.assert_frame_equal(alone, with_worker)


def test_every_image_of_a_folder_has_a_row_and_unreadable_ones_have_a_reason(
    tmp_path: Path,
    write_images: Callable[..., list[str]],
    predicted: Callable[..., pd.DataFrame],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "clinic"
    good = write_images(folder, {"2024/may/NORMAL": 1, "2024/COVID19": 2})
    (folder / "2024" / "broken.png").write_text("not an image")
    (folder / "empty.jpg").write_bytes(b"")
    whole = (folder / good[0]).read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("for the archive")
    (folder / "2024" / "list.csv").write_text("a,b")
    (folder / "2024" / "._broken.png").write_text("what macOS leaves")

    table = predicted(folder)
    readable = table["error"] == ""
    assert sorted(table["path"][readable]) == good
    assert sorted(table["path"][~readable]) == ["2024/broken.png", "empty.jpg", "torn.png"]
    np.testing.assert_allclose(table.loc[readable, CLASSES].sum(axis=1), 1)
    assert set(table.loc[readable, "predicted"]) <= set(CLASSES)
    # A black image stood in for an unreadable one: its probabilities must not be seen.
    assert table.loc[~readable, CLASSES].isna().all(axis=None)
    assert set(table.loc[~readable, "predicted"]) == {""}
    reasons = table[~readable].set_index("path")["error"]
    assert reasons["empty.jpg"] == "the file is empty"
    assert reasons["2024/broken.png"] == "its content is no image format that Pillow knows"
    assert reasons["torn.png"] != ""

    said = " ".join(capsys.readouterr().out.split())
    assert "Unreadable: 2024/broken.png (its content is no image format" in said
    assert "1 .csv" in said and "1 .txt" in said


def test_an_unreadable_image_does_not_change_the_others(
    tmp_path: Path,
    write_images: Callable[..., list[str]],
    predicted: Callable[..., pd.DataFrame],
) -> None:
    write_images(tmp_path / "clinic", {"NORMAL": 2})
    before = predicted(tmp_path / "clinic")
    (tmp_path / "clinic" / "NORMAL" / "A.png").write_text("not an image")  # sorted first
    after = predicted(tmp_path / "clinic")
    assert after["path"][0] == "NORMAL/A.png"
    pd.testing.assert_frame_equal(after[1:].reset_index(drop=True), before, check_exact=False)


def test_one_image_can_be_given(
    images: Path, trained: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    image = sorted((images / "test" / "PNEUMONIA").iterdir())[1]
    table = predicted(image)
    assert table["path"].tolist() == [image.name]
    tested = pd.read_csv(trained / "predictions.csv").set_index("path")
    expected = tested.loc[f"test/PNEUMONIA/{image.name}", CLASSES]
    np.testing.assert_allclose(table.loc[0, CLASSES].astype(float), expected.astype(float), 1e-5)


def test_a_folder_of_unreadable_images_only_is_reported(
    tmp_path: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    (tmp_path / "film.png").write_text("not an image")
    table = predicted(tmp_path / "film.png")
    assert table["error"].tolist() == ["its content is no image format that Pillow knows"]
    assert table[CLASSES].isna().all(axis=None)


def test_the_csv_goes_where_it_is_asked_for(
    images: Path, predicted: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    asked = tmp_path / "new" / "folder" / "may.csv"
    table = predicted(images / "test" / "COVID19", f"output='{asked}'")
    assert asked.is_file()
    assert len(table) == 3


def test_what_does_not_exist_is_a_sentence(
    tmp_path: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    with pytest.raises(DataError, match=r"No images at .*/nowhere \(input\): it does not exist"):
        predicted(tmp_path / "nowhere")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"No images under .*/texts \(1 other files\)"):
        predicted(tmp_path / "texts")
    with pytest.raises(CheckpointError, match=r"ckpt_path=/none/a.ckpt: no such file"):
        predicted(tmp_path / "texts", "ckpt_path=/none/a.ckpt")


def test_explain_writes_a_page_of_the_readable_images(
    tmp_path: Path,
    write_images: Callable[..., list[str]],
    predicted: Callable[..., pd.DataFrame],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_images(tmp_path / "clinic", {"NORMAL": 3})
    (tmp_path / "clinic" / "NORMAL" / "A.png").write_text("not an image")
    table = predicted(tmp_path / "clinic", "explain=true", "explain_limit=2", "batch_size=2")
    page = tmp_path / "out" / "explain.html"
    assert f"Heatmaps: {page}" in capsys.readouterr().out
    readable = table[table["error"] == ""]
    least_certain = readable.loc[readable[CLASSES].max(axis=1).sort_values().index, "path"].tolist()
    shown = page.read_text(encoding="utf-8")
    assert "The 2 films of 3 that the network is least certain of" in shown
    assert [path in shown for path in least_certain] == [True, True, False]
    assert "A.png" not in shown


def test_without_explain_there_is_no_page(
    images: Path, tmp_path: Path, predicted: Callable[..., pd.DataFrame]
) -> None:
    predicted(images / "test" / "COVID19")
    assert not (tmp_path / "out" / "explain.html").exists()


def test_outputs_that_are_no_numbers_are_named_and_fail(
    images: Path,
    trained: Path,
    tmp_path: Path,
    composed: Callable[..., DictConfig],
) -> None:
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    last = [name for name in content["state_dict"] if name.startswith("network.")][-1]
    content["state_dict"][last][:] = float("nan")
    torch.save(content, tmp_path / "diverged.ckpt")
    options = [
        f"ckpt_path='{tmp_path / 'diverged.ckpt'}'",
        f"input='{images / 'test' / 'COVID19'}'",
    ]
    with pytest.raises(CheckpointError, match="no numbers for 3 of 3 images"):
        predict.run(composed("predict", *options, f"folder='{tmp_path}'", "num_workers=0"))
    table = pd.read_csv(tmp_path / "predictions.csv", keep_default_na=False)
    assert table["error"].tolist() == ["the network's output is no number"] * 3
    assert set(table["predicted"]) == {""} and set(table["COVID19"]) == {""}
