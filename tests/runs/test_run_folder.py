"""What a run leaves in its folder, and that it is right."""

import importlib.metadata
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score
from small_runs import (
    BARE,
    CLASSES,
    FOLDERS,
    LEARNING,
    N_TEST,
    SUM_TEST,
    read_json,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cxr_lightning import after_test
from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.folder import job_state
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
WriteImages = Callable[..., list[str]]


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
    called = pd.read_csv(trained.folder / "predictions.csv")
    # Other versions of torch train other weights; some make no mistake, and draw none.
    has_mistakes = (called["label"] != called["predicted"]).any()
    mistakes = {"worst_mistakes.png", "worst_mistakes.json"} if has_mistakes else set()
    assert files == mistakes | {  # and, under Hydra, .hydra/ with the overrides
        ".lock",
        "config.yaml",
        "curves.csv",
        "run.json",
        "split.csv",
        "metrics.json",
        "predictions.csv",
        "predictions-val.csv",
        "calibration.json",
        "calibration.png",
        "confusion_matrix.png",
        "explanation.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "hparams.yaml",
        "report.html",
        "model_card.md",
        "claim.md",
    }
    with Image.open(trained.folder / "confusion_matrix.png") as picture:
        assert picture.size == (768, 672)  # 6.4 × 5.6 inches at 120 dots


def test_the_page_and_the_card_have_the_runs_own_numbers(trained: TrainResult) -> None:
    found = trained.metrics["test/accuracy"]
    assert found.value is not None
    told = f"Accuracy {100 * found.value:.1f}% ({100 * found.low:.1f}–{100 * found.high:.1f})"  # type: ignore[operator]
    for name in ("report.html", "model_card.md"):
        text = (trained.folder / name).read_text(encoding="utf-8")
        assert told in text
        assert f"on {SUM_TEST} test images of {SUM_TEST} patients" in text
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    temperature = read_json(trained.folder / "calibration.json")["temperature"]
    assert f"One temperature, {temperature:.3f}, was found on" in page
    assert "The run is finished" not in page  # it is, and has its numbers
    assert "One run, finished." in page


def test_a_page_that_cannot_be_drawn_fails_no_run(
    run: Callable[..., TrainResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(folder: Path) -> Path:
        raise RuntimeError("no ink")

    monkeypatch.setattr(after_test, "write_pages", fail)
    result = run(tmp_path / "run", *BARE, "trainer.max_epochs=1")
    assert job_state(result.folder) == "finished"
    assert result.metrics["test/accuracy"].n == SUM_TEST
    said = " ".join(capsys.readouterr().out.split())
    assert "The report of the run could not be written (RuntimeError: no ink)." in said
    assert f"To write it again: cxr-report run={result.folder}" in said
    assert "Training:" in said  # what follows is printed all the same


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
    assert record["images_per_s"] > 0
    assert 0 < record["data_wait"] < 1
    assert record["peak_memory_mb"]["process"] > 100


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
    assert list(table.columns) == ["path", "group", "label", "predicted", *CLASSES, "source"]
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
    for name in ("train_epoch_s", "images_per_s", "data_wait"):
        assert len(events.Scalars(f"time/{name}")) == 8
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


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_finished_folder_is_left_as_it_is_and_returns_its_numbers(
    trained: TrainResult, run: Callable[..., TrainResult], capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(trained.folder)
    again = run(trained.folder, *LEARNING, "callbacks.progress=null", "seed=5")
    assert capfd.readouterr().out == f"{trained.folder} is finished already: nothing to do.\n"
    assert again == trained
    assert contents(trained.folder) == before


def test_another_configuration_is_not_written_over_a_finished_one(
    trained: TrainResult, run: Callable[..., TrainResult]
) -> None:
    before = contents(trained.folder)
    with pytest.raises(
        ConfigError, match=r"holds a run with another configuration: seed=5 \(now 6\)\. Choose an"
    ):
        run(trained.folder, *LEARNING, "callbacks.progress=null", "seed=6")
    assert contents(trained.folder) == before


def test_without_callbacks_and_logger_a_run_leaves_its_results_and_nothing_else(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    run(tmp_path / "bare", *BARE, "trainer.max_epochs=1")
    left = {str(file.relative_to(tmp_path / "bare")) for file in (tmp_path / "bare").rglob("*")}
    results = {"run.json", "split.csv", "metrics.json", "predictions.csv", "curves.csv"}
    results |= {"predictions-val.csv", "calibration.json", "calibration.png"}
    results |= {"report.html", "model_card.md", "claim.md"}
    assert left == {*results, "config.yaml", ".lock"}


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


def test_a_run_ends_with_its_speed(
    run: Callable[..., TrainResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "plain", *BARE, "trainer.max_epochs=1")
    line = r"Training: \d+ images/s, \d+% of the time waiting for data; peak memory \d+\.\d GiB"
    assert re.search(line, " ".join(capsys.readouterr().out.split()))
    assert not list((tmp_path / "plain").glob("*profile*"))


def test_a_profile_is_a_file_that_the_end_of_the_run_names(
    run: Callable[..., TrainResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path / "run", *BARE, "trainer.max_epochs=1", "trainer.profiler=simple")
    report = (result.folder / "fit-profile.txt").read_text()
    assert "FIT Profiler Report" in report
    assert "run_training_batch" in report
    assert f"Profile: {result.folder / 'fit-profile.txt'}\n" in capsys.readouterr().out


def test_a_profiler_that_does_not_exist_is_a_sentence(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"trainer.profiler: .*'simple', 'advanced' or 'pytorch'"):
        run(tmp_path / "run", "trainer.profiler=simpel")
