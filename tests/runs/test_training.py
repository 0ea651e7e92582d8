"""Seeds, checkpoints, selection, imbalance: what happens during a run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from small_runs import BARE, CHECKPOINTS_ONLY, CLASSES, LEARNING, read_json, weights

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
WriteImages = Callable[..., list[str]]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        run(tmp_path / name, *BARE, "augment=standard", "trainer.max_epochs=2", f"seed={seed}")
    first, again, other = (
        (tmp_path / name / "predictions.csv").read_bytes() for name in ("first", "again", "other")
    )
    assert first == again
    assert first != other
    # The split has a seed of its own: all three ran on the same images.
    records = [read_json(tmp_path / name / "run.json") for name in ("first", "other")]
    assert records[0]["images"] == records[1]["images"]
    assert records[0]["store_key"] == records[1]["store_key"]


def test_a_checkpoint_of_another_run_gives_its_weights_and_normalisation_and_no_more(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    options = [*CHECKPOINTS_ONLY, "data.batch_size=16", "test_checkpoint=last", "seed=4"]
    first, again = tmp_path / "first", tmp_path / "again"
    run(first, *options, "trainer.max_epochs=2", "model.mean=[0.5]", "model.std=[0.25]")
    last = first / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    # A rate that moves nothing: what is trained is what was loaded.
    more = ["trainer.max_epochs=3", "optim=adamw_onecycle", "optim.lr=1e-30"]
    run(again, *options, *more, "optim.weight_decay=0", f"ckpt_path='{last}'")
    started, ended = weights(last), weights(again / "checkpoints" / "last.ckpt")
    assert ended["network.preprocess.mean"].item() == 0.5  # not this run's own, which is 0
    assert ended["network.preprocess.std"].item() == 0.25
    assert all(torch.equal(value, ended[key]) for key, value in started.items())
    assert len(pd.read_csv(again / "curves.csv")) == read_json(again / "run.json")["epochs"] == 3
    assert last.read_bytes() == before


@pytest.fixture(scope="module")
def ruined(
    run: Callable[..., TrainResult], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Runs that learn for three epochs and are then ruined by a 100 times higher rate."""
    ruin = "optim.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 3, gamma: 100}"
    folders = {}
    for tested in ("best", "last"):
        folders[tested] = tmp_path_factory.mktemp("ruined") / tested
        options = [*CHECKPOINTS_ONLY, "logger=csv", *LEARNING, "trainer.max_epochs=5", ruin]
        run(folders[tested], *options, f"test_checkpoint={tested}")
    return folders


def test_the_best_checkpoint_is_that_of_the_best_validation_f1(ruined: dict[str, Path]) -> None:
    curves = pd.read_csv(ruined["best"] / "metrics.csv").dropna(subset=["val/f1_macro"])
    f1_macro = curves["val/f1_macro"].tolist()
    best_epoch = int(np.argmax(f1_macro))  # the first among equals
    assert best_epoch < 4 and f1_macro[4] < f1_macro[best_epoch] - 0.1  # or nothing is shown
    checkpoints = ruined["best"] / "checkpoints"
    epochs = [
        torch.load(checkpoints / f"{name}.ckpt", weights_only=True)["epoch"]
        for name in ("best", "last")
    ]
    assert epochs == [best_epoch, 4]


def test_test_checkpoint_says_which_weights_are_tested(
    ruined: dict[str, Path], test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    predictions = {}
    for name in ("best", "last"):
        test_of(ruined["best"] / "checkpoints" / f"{name}.ckpt", tmp_path / name)
        predictions[name] = (tmp_path / name / "predictions.csv").read_bytes()
    assert predictions["best"] != predictions["last"]
    for name in ("best", "last"):
        assert (ruined[name] / "predictions.csv").read_bytes() == predictions[name]


def test_without_validation_images_the_last_weights_are_tested(
    run: Callable[..., TrainResult], test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    small = ["data.image_size=32", "trainer.max_epochs=2", "data.batch_size=16"]
    run(tmp_path / "run", "experiment=report2022", *CHECKPOINTS_ONLY, *small)
    run(tmp_path / "best", *CHECKPOINTS_ONLY, *small, "split.val_fraction=0")  # nothing selected
    for name in ("run", "best"):
        checkpoints = tmp_path / name / "checkpoints"
        assert [file.name for file in checkpoints.iterdir()] == ["last.ckpt"]
        test_of(checkpoints / "last.ckpt", tmp_path / "again" / name)
        predictions = (tmp_path / "again" / name / "predictions.csv").read_bytes()
        assert (tmp_path / name / "predictions.csv").read_bytes() == predictions
    record = read_json(tmp_path / "run" / "run.json")
    assert set(record["images"]["val"].values()) == {0}
    assert list(record["images"]["train"].values()) == [26, 32, 42, 22]


def test_training_can_start_from_the_weights_of_another_run(
    trained: TrainResult, run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    best = trained.folder / "checkpoints" / "best.ckpt"
    run(tmp_path, *BARE, "trainer.max_epochs=1", f"model.weights='{best}'", "optim.lr=1e-12")
    before = pd.read_csv(trained.folder / "predictions.csv")[CLASSES]
    after = pd.read_csv(tmp_path / "predictions.csv")[CLASSES]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_cnn5_bn_learns_the_signal(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    result = run(tmp_path, *BARE, *LEARNING, "model=cnn5_bn")
    # Always "pneumonia" would reach 8 of 23 = .35.
    assert result.metrics["test/accuracy"].value >= 0.9  # type: ignore[operator]


def test_every_imbalance_option_changes_what_is_learnt(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    options = ("none", "class_weights", "balanced_sampler", "focal", "logit_adjustment")
    predictions = {}
    for option in options:
        run(tmp_path / option, *BARE, "trainer.max_epochs=1", f"imbalance={option}")
        predictions[option] = (tmp_path / option / "predictions.csv").read_bytes()
    assert len(set(predictions.values())) == len(options)


def test_a_wrong_number_of_classes_is_a_sentence(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"model.num_classes=3, but .* has 4 classes: COVID19, N"):
        run(tmp_path, *BARE, "model.num_classes=3")


def test_a_class_without_training_images_is_a_sentence(
    run: Callable[..., TrainResult], tmp_path: Path, write_images: WriteImages
) -> None:
    numbers = {"train/NORMAL": 3, "train/PNEUMONIA": 3, "test/NORMAL": 2, "test/COVID19": 1}
    write_images(tmp_path / "images", numbers)
    options = [f"data.root='{tmp_path / 'images'}'", "split.val_fraction=0"]
    with pytest.raises(DataError, match=r"has no training images of COVID19, TUBERCULOSIS"):
        run(tmp_path / "run", *BARE, *options)
