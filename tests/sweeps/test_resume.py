"""Runs and sweeps that are killed and resumed: nothing is lost, and nothing is different."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from forked_commands import Forked, start
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig
from small_runs import CHECKPOINTS_ONLY, FOLDERS, read_json, weights

from cxr_lightning import train
from cxr_lightning.callbacks.curves import Curves
from cxr_lightning.callbacks.metrics_file import TestResults
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.sweeps import page

Install = Callable[[], None]

OPTIONS = [
    *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
    *("data.num_workers=0", "data.batch_size=16", "split.val_fraction=0.2", "trainer=cpu"),
    *("trainer.precision=32-true", "n_resamples=100", "+trainer.enable_progress_bar=false"),
    *(*CHECKPOINTS_ONLY, "callbacks.worst_mistakes=null", "callbacks.pr_curves=null"),
]
STOPPED = "stopped; everything done so far is kept. Rerun the same command to resume."


def begin(home: Path, *words: str, dying: Install | None = None) -> Forked:
    """`cxr-train …` in a process of its own, without the report's page. dying: called before it."""

    def before() -> None:
        page.write_page = lambda *_: home / "report.html"  # takes seconds
        if dying is not None:
            dying()

    return start(home, *words, before=before)


def run(home: Path, *words: str, dying: Install | None = None) -> int:
    """Its exit status, when it has ended."""
    return begin(home, *words, dying=dying).status


def kill(*arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_half(io: TorchCheckpointIO, checkpoint: Any, file: Path, *arguments: Any) -> None:
    os.truncate(file, file.stat().st_size // 2)
    kill()


def at(
    owner: type, method: str, call: int, act: Callable[..., None] = kill, before: bool = False
) -> Install:
    """What happens right after (or before) the n-th call of a method, with its arguments."""

    def install() -> None:
        original, calls = getattr(owner, method), itertools.count(1)

        def called(*args: Any, **kwargs: Any) -> Any:
            now = next(calls) == call
            if now and before:
                act(*args)
            result = original(*args, **kwargs)
            if now:
                act(*args)
            return result

        setattr(owner, method, called)

    return install


def curves(folder: Path) -> pd.DataFrame:
    """Every epoch's metrics, as written."""
    return pd.read_csv(folder / "curves.csv", dtype=str)


def assert_same_run(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(curves(one), curves(other))
    for name in ("predictions.csv", "metrics.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("best", "last"):
        files = [folder / "checkpoints" / f"{name}.ckpt" for folder in (one, other)]
        first, second = map(weights, files)
        assert first.keys() == second.keys()
        assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    assert read_json(one / "run.json")["epochs"] == read_json(other / "run.json")["epochs"]


# Images augmented and drawn with replacement, a rate that changes each step, stopped early.
HARD = [
    *("augment=standard", "imbalance=balanced_sampler", "optim=adamw_onecycle", "optim.lr=0.01"),
    *("trainer.max_epochs=9", "seed=3", "callbacks.early_stopping.patience=4"),
    "+callbacks.early_stopping.min_delta=1",  # no epoch after the first is that much better
]
# Batch norm and dropout.
DROPOUT = [
    *("model=torchvision", "model.network.name=mobilenet_v2"),
    *("trainer.max_epochs=2", "augment=standard"),
]


# Everything that looks at the epoch or draws numbers; validated in the middle of each epoch too.
ALL_AT_ONCE = [
    *("augment=[standard,mixup]", "data.train_sizes=[16,32]", "callbacks=[default,ema,batch_norm]"),
    *("model=torchvision", "model.network.name=mobilenet_v2", "trainer.max_epochs=4"),
    *(*CHECKPOINTS_ONLY, "callbacks.worst_mistakes=null", "callbacks.pr_curves=null"),
]
MIDDLE = "+trainer.val_check_interval=2"  # of the three steps of an epoch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    for split, number in (("train", 14), ("test", 5)):
        write_images(folder / "images", {f"{split}/{name}": number for name in FOLDERS})
    return folder


@pytest.fixture(scope="module")
def straight(home: Path) -> Path:
    """The hard run, without a stop."""
    assert run(home, *OPTIONS, *HARD, "name=straight") == 0
    folder = home / "outputs" / "straight"
    assert len(curves(folder)) == 5  # of 9: the first epoch and four without an improvement
    return folder


KILLED_AT = {
    "between the second row and its checkpoint": at(Curves, "_write", 2),
    "in the middle of a checkpoint": at(TorchCheckpointIO, "save_checkpoint", 4, leave_half),
    "between predictions.csv and metrics.json": at(TestResults, "write_metrics", 1, before=True),
}


@pytest.mark.parametrize("moment", KILLED_AT)
def test_a_killed_run_is_resumed_and_ends_like_one_that_was_not(
    moment: str, home: Path, straight: Path
) -> None:
    words = [*OPTIONS, *HARD, f"name='{moment}'"]
    folder = home / "outputs" / moment
    assert run(home, *words, dying=KILLED_AT[moment]) == -signal.SIGKILL
    assert not (folder / "metrics.json").exists()
    assert run(home, *words) == 0
    assert_same_run(folder, straight)


def test_a_run_killed_twice_resumes_from_its_last_whole_epoch(home: Path, straight: Path) -> None:
    words = [*OPTIONS, *HARD, "name=twice"]
    folder = home / "outputs" / "twice"
    # An epoch has three steps; this one is the fourth epoch's second.
    run(home, *words, dying=at(Classifier, "training_step", 3 * 3 + 2))
    assert len(curves(folder)) == 3
    # The first row that the second process writes is the fourth epoch's.
    assert run(home, *words, dying=at(Curves, "_write", 1)) == -signal.SIGKILL
    assert curves(folder)["step"].tolist() == ["3", "6", "9", "12"]
    assert run(home, *words) == 0
    assert_same_run(folder, straight)


def test_a_run_that_is_asked_to_stop_says_so_and_can_be_resumed(home: Path, straight: Path) -> None:
    words = [*OPTIONS, *HARD, "name=stopped"]
    folder = home / "outputs" / "stopped"
    stopping = at(Curves, "_write", 2, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    stopped = begin(home, *words, dying=stopping)
    assert stopped.status == 128 + 15
    assert stopped.stderr.endswith(f"cxr-train: {STOPPED}\n")
    assert not (folder / "error.txt").exists()
    assert run(home, *words) == 0
    assert_same_run(folder, straight)


def test_dropout_and_batch_norm_are_resumed_too(home: Path) -> None:
    words = [*OPTIONS, *DROPOUT]
    assert run(home, *words, "name=dropout") == 0
    middle = at(Classifier, "training_step", 3 + 2)  # of the second epoch
    assert run(home, *words, "name=dropped", dying=middle) == -signal.SIGKILL
    assert run(home, *words, "name=dropped") == 0
    assert_same_run(home / "outputs" / "dropped", home / "outputs" / "dropout")


@pytest.fixture(scope="module", params=[False, True], ids=["", "validated in the middle"])
def without_workers(request: pytest.FixtureRequest, home: Path) -> tuple[Path, list[str]]:
    """A run without loader workers and without a stop, and its words."""
    words = [*OPTIONS, *ALL_AT_ONCE, *([MIDDLE] if request.param else [])]
    name = f"no_workers_{request.param}"
    assert run(home, *words, f"name={name}") == 0
    return home / "outputs" / name, words


@pytest.mark.parametrize(("workers", "then"), [(2, 2), (1, 0)])
def test_loader_workers_change_nothing_also_in_a_run_killed_twice(
    workers: int, then: int, without_workers: tuple[Path, list[str]], home: Path
) -> None:
    """Killed within an epoch and between two; the last start may have other workers."""
    straight, given = without_workers
    name = f"{straight.name}_{workers}_{then}"
    words = [*given, f"data.num_workers={workers}", f"name={name}"]
    within = at(Classifier, "training_step", 3 * 2 + 2)  # the third epoch's second step
    assert run(home, *words, dying=within) == -signal.SIGKILL
    between = at(Curves, "_write", 1, before=True)  # the third epoch's row and checkpoint are lost
    assert run(home, *words, dying=between) == -signal.SIGKILL
    assert len(curves(home / "outputs" / name)) == 2
    assert run(home, *words, f"data.num_workers={then}") == 0
    assert_same_run(home / "outputs" / name, straight)


def test_a_run_with_workers_that_is_not_stopped_is_that_without(
    without_workers: tuple[Path, list[str]], home: Path
) -> None:
    straight, words = without_workers
    name = f"{straight.name}_uncut"
    assert run(home, *words, "data.num_workers=2", f"name={name}") == 0
    assert_same_run(home / "outputs" / name, straight)


def test_a_sweep_killed_three_times_ends_with_the_same_tables(home: Path) -> None:
    grid = ["augment=none,standard", "seed=0,1"]
    words = [*OPTIONS, "-m", *grid, "trainer.max_epochs=2"]
    (home / "aside").mkdir()  # runs meanwhile
    (home / "aside" / "images").symlink_to(home / "images")
    uninterrupted = begin(home / "aside", "name=whole", *words)
    killed = home / "outputs" / "killed"
    finished = []
    for moment in (
        at(Curves, "_write", 4),  # the second job's second epoch
        at(Classifier, "training_step", 2),  # the first thing it does
        at(TestResults, "write_metrics", 3, before=True),
    ):
        assert run(home, "name=killed", *words, dying=moment) == -signal.SIGKILL
        finished.append(len(list(killed.glob("*/metrics.json"))))
    # The third time it begins with the second job and dies in the fourth.
    assert finished == [1, 1, 3]
    so_far = pd.read_csv(killed / "summary.csv")["status"].tolist()
    assert so_far == ["finished"] * 3 + ["waiting"]
    resumed = begin(home, "name=killed", *words)
    assert resumed.status == 0
    assert (
        resumed.stdout.splitlines()[0]
        == "Sweep outputs/killed: 4 jobs, of which 3 finished, 1 unfinished"
    )
    assert uninterrupted.status == 0
    whole = home / "aside" / "outputs" / "whole"
    for name in ("summary.csv", "cells.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    table = pd.read_csv(whole / "summary.csv")
    assert table["status"].tolist() == ["finished"] * 4
    assert not table.filter(regex="^test/").duplicated().any()  # four different runs


@pytest.mark.parametrize(
    ("number", "then"),
    [
        (signal.SIGINT, KeyboardInterrupt()),
        (signal.SIGTERM, SystemExit(1)),  # what Lightning makes of it
        # A loader's worker gets the signal too, and Lightning stumbles over its end.
        (signal.SIGINT, RuntimeError("DataLoader worker exited unexpectedly")),
    ],
)
def test_a_sweep_that_is_stopped_starts_no_other_job(
    number: int, then: BaseException, tmp_path: Path
) -> None:
    def job(cfg: DictConfig) -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise then from None

    def install() -> None:
        train.run = job  # type: ignore[assignment]

    stopped = begin(tmp_path, "-m", "seed=0,1", "name=x", dying=install)
    assert stopped.status == 128 + number
    assert stopped.stdout == "Sweep outputs/x: 2 jobs\nJob 1 of 2: seed-0\n"
    assert stopped.stderr == f"cxr-train: {STOPPED}\n"
    assert not (tmp_path / "outputs" / "x" / "seed-0" / "error.txt").exists()
