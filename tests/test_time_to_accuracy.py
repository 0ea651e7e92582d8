"""The benchmark of seconds to an accuracy: when it is reached, and what the table says."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.accuracy import OURS, _link_all, _table, accuracy, reached, run
from benchmarks.rounds import Runs
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
    runs = Runs({name: [{"whole_s": 200.0}] * 2 for name in curves})
    ours, student = _table(curves, runs).rows
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


def test_all_that_is_not_tested_is_trained_on(
    write_images: object, tmp_path: Path, suite: Suite
) -> None:
    write_images(  # type: ignore[operator]
        tmp_path / "images", {"train/NORMAL": 3, "val/NORMAL": 2, "test/NORMAL": 4}
    )
    assert _link_all(tmp_path / "images", tmp_path / "links")
    found = {p: len(list((tmp_path / "links" / p / "NORMAL").iterdir())) for p in ("train", "test")}
    assert found == {"train": 5, "test": 4}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path, pd.DataFrame(), tmp_path, 1, 1, 32, quick=True, only=["accuracy"])


def test_images_without_a_test_folder_are_left_out_in_a_sentence(
    write_images: object, tmp_path: Path, suite: Suite
) -> None:
    write_images(tmp_path, {"NORMAL": 3, "PNEUMONIA": 3})  # type: ignore[operator]
    assert run(suite).left_out == ["accuracy is left out: the images have no test folder."]


def test_it_runs_only_where_it_is_asked_for(tmp_path: Path) -> None:
    suite = Suite(tmp_path, pd.DataFrame(), tmp_path, 1, 1, 32, quick=True)
    (sentence,) = run(suite).left_out
    assert "--only accuracy" in sentence
