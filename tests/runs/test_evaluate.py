"""Evaluation gives the numbers of the training run; other images; several processes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig
from small_runs import CHECKPOINTS_ONLY, CLASSES, SUM_TEST, read_json

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
WriteImages = Callable[..., list[str]]


def test_evaluation_gives_the_numbers_of_the_training_run(
    trained: TrainResult, test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    again = test_of(trained.folder / "checkpoints" / "best.ckpt", tmp_path)
    assert again.metrics == trained.metrics
    assert (tmp_path / "predictions.csv").read_bytes() == (
        trained.folder / "predictions.csv"
    ).read_bytes()
    run = read_json(trained.folder / "metrics.json")
    tested, validation = run.pop("tested"), run.pop("validation")  # of the training alone
    assert read_json(tmp_path / "metrics.json") == run
    curves = pd.read_csv(trained.folder / "curves.csv").set_index("epoch")
    assert tested == {"checkpoint": "best.ckpt", "epoch": curves["val/f1_macro"].idxmax()}
    assert validation["val/f1_macro"] == curves["val/f1_macro"].max()
    keys = [read_json(folder / "run.json")["store_key"] for folder in (tmp_path, trained.folder)]
    assert keys[0] == keys[1]


def test_a_test_is_profiled_where_it_is_asked_for_and_not_because_its_training_was(
    run: Callable[..., TrainResult],
    test_of: Callable[..., TrainResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = [*CHECKPOINTS_ONLY, "trainer.max_epochs=1"]
    profiled = run(tmp_path / "run", *few, "trainer.profiler=simple")
    checkpoint = profiled.folder / "checkpoints" / "last.ckpt"
    test_of(checkpoint, tmp_path / "plain")
    assert not list((tmp_path / "plain").glob("*profile*"))
    test_of(checkpoint, tmp_path / "asked", "trainer.profiler=simple")
    assert "TEST Profiler Report" in (tmp_path / "asked" / "test-profile.txt").read_text()
    assert f"Profile: {tmp_path / 'asked' / 'test-profile.txt'}\n" in capsys.readouterr().out


@pytest.mark.parametrize("subset", ["train", "val", "all"])
def test_other_parts_of_the_images_can_be_evaluated(
    subset: str, trained: TrainResult, test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    test_of(trained.folder / "checkpoints" / "best.ckpt", tmp_path, f"subset={subset}")
    images = read_json(trained.folder / "run.json")["images"]
    chosen = list(images) if subset == "all" else [subset]
    expected = {name: sum(images[split][name] for split in chosen) for name in CLASSES}
    assert read_json(tmp_path / "metrics.json")["images_per_class"] == expected


def test_other_images_can_be_evaluated(
    trained: TrainResult,
    test_of: Callable[..., TrainResult],
    tmp_path: Path,
    write_images: WriteImages,
) -> None:
    # A folder without train/ and test/, with the training set's odd spelling, and one class only.
    paths = write_images(tmp_path / "clinic", {"TURBERCULOSIS": 3, "NORMAL": 2})
    checkpoint = trained.folder / "checkpoints" / "best.ckpt"
    options = ["data=folder", f"data.root='{tmp_path / 'clinic'}'", "subset=all"]
    result = test_of(checkpoint, tmp_path / "out", *options, "data.num_workers=0")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert sorted(table["path"]) == paths
    assert list(table["label"]) == ["NORMAL"] * 2 + ["TUBERCULOSIS"] * 3
    # Image numbers 0, 1, 2 of a class have the same stripes in every folder they are written to
    # but their noise differs: an easy test for a network that has learnt the stripes.
    assert result.metrics["test/accuracy"].value == (table["label"] == table["predicted"]).mean()
    assert result.metrics["test/accuracy"].n == 5
    assert result.metrics["test/recall/COVID19"].value is None


def test_a_class_that_the_checkpoint_does_not_know_is_a_sentence(
    trained: TrainResult,
    test_of: Callable[..., TrainResult],
    tmp_path: Path,
    write_images: WriteImages,
) -> None:
    write_images(tmp_path / "clinic", {"NORMAL": 2, "FRACTURE": 2})
    checkpoint = trained.folder / "checkpoints" / "best.ckpt"
    options = ["data=folder", f"data.root='{tmp_path / 'clinic'}'", "subset=all"]
    with pytest.raises(DataError, match=r"Unknown `FRACTURE`.*Known: COVID19, NORMAL, PNEUMONIA"):
        test_of(checkpoint, tmp_path / "out", *options)
    listed = "data.classes={NORMAL: [], FRACTURE: []}"
    with pytest.raises(ConfigError) as error:
        test_of(checkpoint, tmp_path / "out", *options, listed)
    assert "tells COVID19, NORMAL, PNEUMONIA, TUBERCULOSIS apart, but data.classes lists" in str(
        error.value
    )
    assert "NORMAL, FRACTURE. Give the same names in the same order." in str(error.value)


def test_two_processes_test_every_image_once(
    settings: list[str], test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    several = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "name=ddp"]
    # With all callbacks: what one process does alone, the other must not wait for.
    several += ["trainer.max_epochs=2", "data.batch_size=8"]
    done = subprocess.run(
        [sys.executable, "-m", "cxr_lightning.train", *settings, *several],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "ddp"
    assert read_json(folder / "run.json")["processes"] == 2
    table = pd.read_csv(folder / "predictions.csv")
    assert len(table) == table["path"].nunique() == SUM_TEST
    assert read_json(folder / "metrics.json")["n"] == SUM_TEST
    # One process finds the same probabilities, whose batches were others.
    alone = ["trainer.devices=1", "+trainer.strategy=auto"]
    test_of(folder / "checkpoints" / "best.ckpt", tmp_path / "alone", *alone)
    again = pd.read_csv(tmp_path / "alone" / "predictions.csv")
    assert list(again["path"]) == list(table["path"])
    np.testing.assert_allclose(again[CLASSES], table[CLASSES], atol=1e-5)
