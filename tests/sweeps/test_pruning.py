"""A trial's validation curve: its value, and the early end of a hopeless one."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from optuna.trial import create_trial
from pytorch_lightning import LightningModule, Trainer
from small_runs import BARE, FOLDERS, read_json

from cxr_lightning import train
from cxr_lightning.callbacks.pruning import Pruning
from cxr_lightning.config import SearchConfig
from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.database import open_storage
from cxr_lightning.runs.folder import job_state
from cxr_lightning.sweeps.plan import quoted
from cxr_lightning.sweeps.trials import objective_values

F1 = {"val/f1_macro": "maximize"}
TWO = {"val/f1_macro": "maximize", "val/loss": "minimize"}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}

# --- its value -----------------------------------------------------------------------------------


def write_curves(folder: Path, rows: str) -> None:
    (folder / "curves.csv").write_text("epoch,step,val/f1_macro,val/loss,train/loss\n" + rows)


def test_the_value_is_that_of_the_best_epoch_and_others_are_read_there(tmp_path: Path) -> None:
    write_curves(
        tmp_path, "0,3,0.5,0.9,1\n1,6,0.8,1.2,2\n2,9,,,3\n3,12,0.8,0.1,4\n4,15,0.7,0.3,5\n"
    )
    assert objective_values(tmp_path, F1) == [0.8]
    assert objective_values(tmp_path, {"val/loss": "minimize"}) == [0.1]
    assert objective_values(tmp_path, {"val/loss": "maximize"}) == [1.2]
    # F1 is best in epochs 1 and 3; the checkpoint is the first's, and so is the loss.
    assert objective_values(tmp_path, TWO) == [0.8, 1.2]
    assert objective_values(tmp_path, {"val/loss": "minimize", **F1}) == [0.1, 0.8]


def test_a_curve_of_nan_has_no_value(tmp_path: Path) -> None:
    write_curves(tmp_path, "0,3,,0.9,1\n1,6,,0.8,2\n")
    assert objective_values(tmp_path, F1) is None


def test_an_objective_that_is_not_logged_names_those_that_are(tmp_path: Path) -> None:
    write_curves(tmp_path, "0,3,0.5,0.9,1\n")
    with pytest.raises(ConfigError) as refused:
        objective_values(tmp_path, {**F1, "val/auroc": "maximize"})
    assert str(refused.value) == (
        "The objective val/auroc is not logged; there are: val/f1_macro, val/loss, train/loss."
    )


# --- its end -------------------------------------------------------------------------------------


class Trial:
    """A trial of a study in which others have `curves`, and its callback."""

    def __init__(
        self, folder: Path, curves: list[list[float]], objective: str = "val/f1_macro"
    ) -> None:
        self.direction = "minimize" if objective == "val/loss" else "maximize"
        self.folder, self.objective = folder, objective
        self.url = f"sqlite:///{folder}/study.db"
        self.study = optuna.create_study(
            storage=open_storage(self.url), study_name="study", direction=self.direction
        )
        self.add(*curves)
        self.number = self.study.ask().number
        self.callback = self.start()

    def add(self, *curves: list[float]) -> None:
        for curve in curves:
            values = dict(enumerate(curve))
            self.study.add_trial(create_trial(value=curve[-1], intermediate_values=values))

    def start(self, pruner: dict[str, Any] = MEDIAN) -> Pruning:
        """The callback of a new process."""
        search = {"study": "study", "storage": self.url, "trial": self.number, "pruner": pruner}
        objectives = {self.objective: self.direction}
        return Pruning(SearchConfig(**search, objectives=objectives), self.folder)

    def epoch(self, number: int, value: float | None, **changes: Any) -> bool:
        """Whether the training stops after this epoch of five."""
        logged = {} if value is None else {self.objective: torch.tensor(value)}
        strategy = SimpleNamespace(broadcast=lambda decision: changes.get("decided", decision))
        state = {"is_global_zero": True, "max_epochs": 5, "should_stop": False, **changes}
        trainer = SimpleNamespace(
            callback_metrics=logged, current_epoch=number, strategy=strategy, **state
        )
        module = cast("LightningModule", None)
        self.callback.on_train_epoch_end(cast("Trainer", trainer), module)
        return bool(trainer.should_stop)

    @property
    def reported(self) -> dict[int, float]:
        return self.study.trials[self.number].intermediate_values

    @property
    def record(self) -> Path:
        return self.folder / "pruned.json"


# The median of the second epoch is 0.8, of the third 0.85.
CURVES = [[0.5, 0.75, 0.8], [0.6, 0.85, 0.9]]


def test_a_trial_below_the_median_is_stopped_and_says_when(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    assert trial.epoch(0, 0.625) is False
    assert trial.epoch(1, 0.8125) is False
    assert not trial.callback.pruned and not trial.record.exists()
    assert trial.epoch(2, 0.75) is True  # the best so far, 0.8125, is below 0.85
    assert trial.callback.pruned
    assert read_json(trial.record) == {"epoch": 2, "val/f1_macro": 0.75}
    assert job_state(tmp_path) == "pruned"
    assert trial.reported == {0: 0.625, 1: 0.8125, 2: 0.75}


def test_what_is_to_be_small_is_hopeless_above_the_median(tmp_path: Path) -> None:
    trial = Trial(tmp_path, [[0.4, 0.2], [0.6, 0.4]], "val/loss")  # medians 0.5, 0.3
    assert trial.epoch(0, 0.375) is False
    assert trial.epoch(1, 0.3125) is True


def test_a_resumed_run_reports_no_epoch_again(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    trial.epoch(0, 0.625)
    trial.epoch(1, 0.875)
    trial.callback = trial.start()  # the last checkpoint was that of epoch 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's, of a second report
        assert trial.epoch(1, 0.5) is False
    assert trial.epoch(2, 0.9375) is False
    assert trial.reported == {0: 0.625, 1: 0.875, 2: 0.9375}


def test_a_resumed_run_is_still_stopped(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    trial.epoch(0, 0.625)
    trial.callback = trial.start()
    assert trial.epoch(1, 0.75) is True  # the best so far is below 0.8


def test_a_training_is_not_stopped_in_its_last_epoch(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    assert trial.epoch(2, 0.125, max_epochs=3) is False
    assert not trial.record.exists()
    assert trial.reported == {2: 0.125}


def test_other_processes_do_as_the_first_says_and_report_nothing(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    assert trial.epoch(2, 0.9375, is_global_zero=False, decided=True) is True
    assert trial.callback.pruned
    assert trial.epoch(2, 0.125, is_global_zero=False, decided=False) is False
    assert not trial.record.exists() and trial.reported == {}


def test_a_stop_for_another_reason_stands(tmp_path: Path) -> None:
    assert Trial(tmp_path, CURVES).epoch(2, 0.9375, should_stop=True) is True


def test_without_a_pruner_or_a_value_nothing_is_reported(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    assert trial.epoch(2, None) is False
    trial.callback = trial.start(pruner={})
    assert trial.epoch(2, 0.125) is False
    assert trial.reported == {}


def test_a_loss_that_is_nan_is_hopeless(tmp_path: Path) -> None:
    trial = Trial(tmp_path, [[0.4], [0.6]], "val/loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of a mean of nothing
        assert trial.epoch(0, math.nan) is True
    assert read_json(trial.record) == {"epoch": 0, "val/loss": None}


def test_a_run_that_starts_over_is_not_stopped_for_an_epoch_it_has_not_reached(
    tmp_path: Path,
) -> None:
    trial = Trial(tmp_path, [])
    for number in range(3):
        trial.epoch(number, 0.75)
    trial.add(*CURVES)
    trial.callback = trial.start()  # there was no checkpoint
    assert trial.epoch(0, 0.75) is False  # above the median of epoch 0; below that of epoch 2


def test_a_run_that_has_ended_by_early_stopping_is_whole(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CURVES)
    trial.epoch(2, 0.125, should_stop=True)
    assert not trial.callback.pruned and not trial.record.exists()


def test_a_hopeless_run_ends_without_results_and_stays_so(
    tmp_path: Path,
    write_images: Callable[..., list[str]],
    composed: Callable[..., DictConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_images(
        tmp_path, {f"{split}/{name}": 8 for split in ("train", "test") for name in FOLDERS}
    )
    folder, url = tmp_path / "trial-000", f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name="study", direction="minimize")
    study.ask()
    pruner = {"_target_": "optuna.pruners.ThresholdPruner", "upper": -1, "n_warmup_steps": 1}
    goal = {"train/loss": "minimize"}  # logged at the very end of an epoch
    search = {"study": "study", "storage": url, "objectives": goal, "trial": 0, "pruner": pruner}
    config = composed(
        "train",
        *(*BARE, "data=kaggle", f"data.root='{tmp_path}'", f"data.cache_dir='{tmp_path}/cache'"),
        *("data.image_size=32", "data.num_workers=0", "split.val_fraction=0.25", "trainer=cpu"),
        *("trainer.max_epochs=5", "trainer.precision=32-true", f"folder='{folder}'"),
        *("+trainer.enable_progress_bar=false", f"search={quoted(search)}"),
    )
    assert train.run(config).metrics == {}
    curve = pd.read_csv(folder / "curves.csv")
    assert curve["epoch"].tolist() == [0, 1]
    reported = study.trials[0].intermediate_values
    assert reported == curve["train/loss"].to_dict()
    assert read_json(folder / "pruned.json") == {"epoch": 1, "train/loss": reported[1]}
    assert not (folder / "metrics.json").exists() and not (folder / "predictions.csv").exists()
    capsys.readouterr()
    assert train.run(config).metrics == {}
    assert "is pruned already: nothing to do." in capsys.readouterr().out
