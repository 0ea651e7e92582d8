"""Training, testing and evaluating, end to end, on small images whose class can be learnt."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cxr_lightning import evaluate, train
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
WriteImages = Callable[..., list[str]]

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
FOLDERS = ["COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS"]  # as Kaggle spells the last one
N_TRAIN, N_VAL, N_TEST = [24, 30, 40, 20], [2, 2, 2, 2], [5, 6, 8, 4]
SUM_TEST = 23  # odd, so that two processes do not get equal shares
LEARNING = ["trainer.max_epochs=8", "optim.lr=0.003", "data.batch_size=8", "split.val_fraction=0.2"]
BARE = ["callbacks=none", "logger=none"]
CHECKPOINTS_ONLY = [
    "logger=none",
    "callbacks.progress=null",
    "callbacks.augmentation=null",
    "callbacks.confusion_matrix=null",
    "callbacks.learning_rate=null",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, write_images: WriteImages) -> Path:
    root = tmp_path_factory.mktemp("images")
    for split, numbers in (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST)):
        write_images(root, {f"{split}/{f}": n for f, n in zip(FOLDERS, numbers, strict=True)})
    return root


@pytest.fixture(scope="module")
def settings(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of every run here: which images, and a network small enough for a test."""
    return [
        "data=kaggle",
        f"data.root='{images}'",
        f"data.cache_dir='{tmp_path_factory.mktemp('cache')}'",
        "data.image_size=32",
        "data.num_workers=0",
        "trainer=cpu",
        "trainer.precision=32-true",
    ]


@pytest.fixture(scope="module")
def run(composed: Composed, settings: list[str]) -> Callable[..., TrainResult]:
    """`run(folder, "model=resnet18", …)`: a training run."""

    def start(folder: Path, *overrides: str) -> TrainResult:
        folder.mkdir(parents=True, exist_ok=True)  # as Hydra would
        quiet = "+trainer.enable_progress_bar=false"
        return train.run(composed("train", *settings, quiet, f"folder='{folder}'", *overrides))

    return start


@pytest.fixture(scope="module")
def test_of(composed: Composed) -> Callable[..., TrainResult]:
    """`test_of(checkpoint, folder, "subset=all", …)`: what cxr-evaluate does."""

    def start(checkpoint: Path, folder: Path, *overrides: str) -> TrainResult:
        folder.mkdir(parents=True, exist_ok=True)
        given = [f"ckpt_path='{checkpoint}'", f"folder='{folder}'", *overrides]
        return evaluate.run(composed("evaluate", *given))

    return start


@pytest.fixture(scope="module")
def trained(
    run: Callable[..., TrainResult], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    """A run with everything that a run leaves."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    return run(folder, *LEARNING, "callbacks.progress=null", "seed=5")


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


# --- a run and its folder ------------------------------------------------------------------------


def test_a_learnable_signal_is_learnt(trained: TrainResult) -> None:
    # Always "pneumonia" would reach 8 of 23 = .35.
    assert trained.metrics["test/accuracy"].value >= 0.9  # type: ignore[operator]
    assert trained.metrics["test/auroc_macro"].value >= 0.95  # type: ignore[operator]


def test_a_run_leaves_the_files_of_the_readme(trained: TrainResult) -> None:
    files = {
        str(file.relative_to(trained.folder))
        for file in trained.folder.rglob("*")
        if file.is_file() and not file.name.startswith("events.")
    }
    assert files == {
        "run.json",
        "metrics.json",
        "predictions.csv",
        "confusion_matrix.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "hparams.yaml",
    }
    with Image.open(trained.folder / "confusion_matrix.png") as picture:
        assert picture.size == (768, 672)  # 6.4 × 5.6 inches at 120 dots


def test_run_json_says_what_ran(trained: TrainResult) -> None:
    record = read_json(trained.folder / "run.json")
    assert record["seed"] == 5
    assert record["precision"] == "32-true"
    assert record["processes"] == 1
    assert record["epochs"] == 8
    assert record["versions"]["torch"] == importlib.metadata.version("torch")
    assert record["versions"]["cxr-lightning"] == importlib.metadata.version("cxr-lightning")
    # 3 convolutions 160 + 4640 + 18496, 64 channels of 4² to 128, 128 to 4
    assert record["parameters"] == 160 + 4640 + 18496 + (64 * 16 + 1) * 128 + 129 * 4
    assert record["command"] == sys.argv
    assert set(record["seconds"]) == {"fit", "test"}
    assert 0 < record["train_epoch_s"] * 8 < record["seconds"]["fit"] * 2


def test_run_json_counts_the_images_of_each_class_and_split(trained: TrainResult) -> None:
    record = read_json(trained.folder / "run.json")
    images = {split: [by_class[c] for c in CLASSES] for split, by_class in record["images"].items()}
    assert images["test"] == N_TEST
    # The folder's val/ is folded into train; a fifth of all that validates.
    assert [t + v for t, v in zip(images["train"], images["val"], strict=True)] == [26, 32, 42, 22]
    for validating, all_of_class in zip(images["val"], [26, 32, 42, 22], strict=True):
        assert abs(validating - all_of_class / 5) <= 1
    # No file name here tells a patient, so every image is its own.
    assert record["patients"] == {split: sum(n) for split, n in images.items()}
    assert record["ignored_files"] == {}
    assert record["unreadable_images"] == {}


def test_the_loss_is_told_how_many_images_of_each_class_train(trained: TrainResult) -> None:
    best = torch.load(trained.folder / "checkpoints" / "best.ckpt", weights_only=True)
    counts = read_json(trained.folder / "run.json")["images"]["train"]
    assert best["hyper_parameters"]["class_counts"] == [counts[name] for name in CLASSES]


def test_predictions_csv_has_every_test_image_once(trained: TrainResult, images: Path) -> None:
    table = pd.read_csv(trained.folder / "predictions.csv")
    on_disk = sorted(str(p.relative_to(images)) for p in (images / "test").rglob("*.png"))
    assert sorted(table["path"]) == on_disk
    assert len(table) == SUM_TEST
    assert list(table.columns) == ["path", "group", "label", "predicted", *CLASSES]
    spelt = dict(zip(FOLDERS, CLASSES, strict=True))
    assert list(table["label"]) == [spelt[path.split("/")[1]] for path in table["path"]]
    np.testing.assert_allclose(table[CLASSES].sum(axis=1), 1, atol=1e-9)
    assert list(table["predicted"]) == list(table[CLASSES].idxmax(axis=1))


def test_metrics_json_is_what_predictions_csv_gives(trained: TrainResult) -> None:
    table = pd.read_csv(trained.folder / "predictions.csv")
    results = read_json(trained.folder / "metrics.json")
    accuracy = accuracy_score(table["label"], table["predicted"])
    f1_macro = f1_score(table["label"], table["predicted"], average="macro")
    assert results["metrics"]["test/accuracy"]["value"] == pytest.approx(accuracy, abs=1e-12)
    assert results["metrics"]["test/f1_macro"]["value"] == pytest.approx(f1_macro, abs=1e-12)
    matrix = pd.crosstab(table["label"], table["predicted"])
    matrix = matrix.reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    assert results["confusion_matrix"] == matrix.to_numpy().tolist()
    assert results["n"] == results["patients"] == SUM_TEST
    assert results["images_per_class"] == dict(zip(CLASSES, N_TEST, strict=True))
    assert results["classes_without_images"] == []
    assert results["majority_baseline_accuracy"] == pytest.approx(8 / 23)


def test_metrics_json_is_what_the_run_returns_with_its_intervals(trained: TrainResult) -> None:
    written = read_json(trained.folder / "metrics.json")["metrics"]
    assert set(written) == set(trained.metrics)
    for name, estimate in trained.metrics.items():
        assert written[name] == vars(estimate)
    accuracy = trained.metrics["test/accuracy"]
    assert accuracy.n == SUM_TEST
    assert accuracy.low < accuracy.value <= accuracy.high  # type: ignore[operator]
    assert {f"test/recall/{name}" for name in CLASSES} <= set(written)


def test_tensorboard_shows_curves_figures_and_hparams(trained: TrainResult) -> None:
    events = EventAccumulator(str(trained.folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert len(events.Scalars("val/f1_macro")) == 8
    assert len(events.Scalars("train/loss")) == 8
    assert len(events.Scalars("time/train_epoch_s")) == 8
    assert len(events.Scalars("lr-Adam")) == 8
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < losses[0] / 2
    final = events.Scalars("test/accuracy")[-1].value
    assert final == pytest.approx(trained.metrics["test/accuracy"].value, abs=1e-6)
    assert [event.step for event in events.Images("val/confusion_matrix")] == list(range(8))
    assert len(events.Images("augmentation")) == 1
    assert len(events.Images("test/confusion_matrix")) == 1
    assert events.Images("augmentation")[0].encoded_image_string.startswith(b"\x89PNG")

    contents = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    hparams = start.session_start_info.hparams
    assert hparams["model"].string_value == "cnn5"
    assert hparams["lr"].number_value == 0.003
    assert hparams["seed"].number_value == 5
    experiment = plugin_data_pb2.HParamsPluginData.FromString(contents["_hparams_/experiment"])
    announced = {info.name.tag for info in experiment.experiment.metric_infos}
    assert announced <= set(events.Tags()["scalars"])
    assert {"test/accuracy", "test/f1_macro", "test/recall/TUBERCULOSIS"} <= announced


def test_a_finished_folder_is_not_written_over(
    trained: TrainResult, run: Callable[..., TrainResult]
) -> None:
    before = (trained.folder / "metrics.json").read_bytes()
    with pytest.raises(ConfigError, match=r"already holds a finished run. Choose another name=…"):
        run(trained.folder, *LEARNING)
    assert (trained.folder / "metrics.json").read_bytes() == before


def test_without_callbacks_and_logger_a_run_leaves_its_results_and_nothing_else(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    run(tmp_path / "bare", *BARE, "trainer.max_epochs=1")
    left = {str(file.relative_to(tmp_path / "bare")) for file in (tmp_path / "bare").rglob("*")}
    assert left == {"run.json", "metrics.json", "predictions.csv"}


def test_the_csv_logger_writes_a_row_for_each_validation(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    result = run(tmp_path, "callbacks=none", "logger=csv", "trainer.max_epochs=3")
    curves = pd.read_csv(tmp_path / "metrics.csv")
    assert list(curves["epoch"][curves["val/f1_macro"].notna()]) == [0, 1, 2]
    accuracy = curves["test/accuracy"].dropna().tolist()
    assert accuracy == pytest.approx([result.metrics["test/accuracy"].value])


def test_a_smoke_run_says_which_classes_its_few_images_lack(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    run(tmp_path, "trainer=smoke", "trainer.accelerator=cpu", "data.batch_size=4", *BARE)
    results = read_json(tmp_path / "metrics.json")
    # Two batches of 4, in the order of the folders: 5 of COVID19 and 3 of NORMAL.
    assert results["n"] == 8
    assert list(results["images_per_class"].values()) == [5, 3, 0, 0]
    assert results["classes_without_images"] == ["PNEUMONIA", "TUBERCULOSIS"]
    assert results["metrics"]["test/recall/PNEUMONIA"]["value"] is None


# --- seeds ---------------------------------------------------------------------------------------


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


# --- checkpoints ---------------------------------------------------------------------------------


def test_going_on_from_a_checkpoint_equals_training_without_a_stop(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    options = [*CHECKPOINTS_ONLY, "augment=standard", "data.batch_size=16"]
    run(tmp_path / "straight", *options, "trainer.max_epochs=4")
    run(tmp_path / "stopped", *options, "trainer.max_epochs=2")
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    halfway = weights(last)
    run(tmp_path / "stopped", *options, "trainer.max_epochs=4", f"ckpt_path='{last}'")

    resumed, straight = (
        tmp_path / name / "checkpoints" / "last.ckpt" for name in ("stopped", "straight")
    )
    assert all(torch.equal(v, weights(straight)[k]) for k, v in weights(resumed).items())
    moved = [k for k, v in weights(resumed).items() if not torch.equal(v, halfway[k])]
    assert moved == [k for k in halfway if "backbone" in k]  # it did go on
    predictions = [tmp_path / name / "predictions.csv" for name in ("stopped", "straight")]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


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


# --- options -------------------------------------------------------------------------------------


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
    with pytest.raises(DataError, match=r"No training images of COVID19, TUBERCULOSIS under"):
        run(tmp_path / "run", *BARE, *options)


# --- evaluate ------------------------------------------------------------------------------------


def test_evaluation_gives_the_numbers_of_the_training_run(
    trained: TrainResult, test_of: Callable[..., TrainResult], tmp_path: Path
) -> None:
    again = test_of(trained.folder / "checkpoints" / "best.ckpt", tmp_path)
    assert again.metrics == trained.metrics
    for name in ("metrics.json", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == (trained.folder / name).read_bytes()
    keys = [read_json(folder / "run.json")["store_key"] for folder in (tmp_path, trained.folder)]
    assert keys[0] == keys[1]


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


# --- several processes ---------------------------------------------------------------------------


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
