"""The benchmark of seconds to an accuracy: when it is reached, and what the table says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.accuracy import OURS, accuracy, curve_of, reached, run, table_rows
from benchmarks.images import find_images
from benchmarks.suite import Suite


def curve(*accuracies: float, epoch_s: float = 10.0) -> list[tuple[float, float]]:
    return [((i + 1) * epoch_s, value) for i, value in enumerate(accuracies)]


def test_an_accuracy_is_reached_by_the_mean_of_three_epochs() -> None:
    assert reached(curve(0.5, 0.79, 0.80, 0.81)) == 40.0  # .697, then .8
    assert reached(curve(0.9, 0.9, 0.6, 0.9, 0.9)) == 30.0  # .8
    assert reached(curve(0.9, 0.2, 0.9, 0.2, 0.9)) is None  # one epoch alone is luck
    assert reached(curve(0.95, 0.95)) is None
    assert reached([]) is None


def test_who_does_not_get_there_counts_with_all_epochs() -> None:
    curves = {
        OURS: [curve(0.8, 0.8, 0.8, epoch_s=2), curve(0.8, 0.8, 0.8, epoch_s=4)],
        "student: cnn5": [curve(*[0.5] * 15), curve(0.9, 0.9, 0.9, 0.3)],
    }
    ours, student = table_rows(curves, {name: [200.0, 200.0] for name in curves})
    # Ours: 6 s and 12 s. The student: 150 s as a lower bound, and 30 s: 25 and 2.5 times ours.
    assert ours[1:5] == ["2 of 2", "9 (6–12)", "1.0 (1.0–1.0)", "80.0 (80.0–80.0)"]
    assert student[1:4] == ["1 of 2", "90 (30–150)", "13.8 (2.5–25.0)"]
    assert student[4] == "60.0 (50.0–70.0)"  # of the last three epochs


def test_accuracy_is_the_share_that_is_called_right() -> None:
    network = nn.Flatten()
    batches = [
        (torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0])),
        (torch.tensor([[5.0, 1.0]]), torch.tensor([0])),
    ]
    assert accuracy(network, batches) == pytest.approx(2 / 3)
    assert network.training


def test_the_clock_stands_still_during_tests() -> None:
    # Started at 100; trained for 5 s, tested for 20 s, trained for 7 s, tested for 3 s.
    assert curve_of([(105.0, 0.3, 125.0), (132.0, 0.4, 135.0)], 100.0) == [(5.0, 0.3), (12.0, 0.4)]


def test_all_that_is_not_tested_is_trained_on(
    write_images: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(
        tmp_path / "images",
        {"train/NORMAL": 3, "train/COVID19": 1, "val/NORMAL": 2, "test/NORMAL": 4},
        size=16,
    )
    monkeypatch.setattr(Suite, "interleave", lambda *_: {})  # trains nothing
    run(Suite(find_images(tmp_path / "images"), tmp_path, only=["accuracy"]))
    found = {
        folder: len(list((tmp_path / "accuracy" / folder / "NORMAL").iterdir()))
        for folder in ("train", "test")
    }
    assert found == {"train": 5, "test": 4}


def test_images_without_a_test_folder_are_left_out_in_a_sentence(
    write_images: Callable[..., list[str]], tmp_path: Path
) -> None:
    write_images(tmp_path / "images", {"NORMAL": 3, "PNEUMONIA": 3}, size=16)
    suite = Suite(find_images(tmp_path / "images"), tmp_path, only=["accuracy"])
    run(suite)
    assert suite.left_out == ["accuracy is left out: the images have no test folder."]


def test_it_runs_only_where_it_is_asked_for(
    write_images: Callable[..., list[str]], tmp_path: Path
) -> None:
    write_images(
        tmp_path / "images", {"train/NORMAL": 3, "train/COVID19": 1, "test/NORMAL": 4}, size=16
    )
    suite = Suite(find_images(tmp_path / "images"), tmp_path)
    run(suite)
    assert suite.left_out == [
        "accuracy is left out: it takes long. Ask for it with --only accuracy."
    ]
