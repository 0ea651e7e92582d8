"""Whole sweeps with hydra/launcher=processes: as with Hydra's own launcher, but side by side."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from forked_commands import Forked, start
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from small_runs import BARE, FOLDERS, read_json

from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.machine import usable_cores
from cxr_lightning.sweeps.launcher import _is_of_the_sweep
from cxr_lightning.trainers import check_trainer

OPTIONS = [
    *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
    *("data.num_workers=0", "data.batch_size=4", "split.val_fraction=0", "trainer=cpu"),
    *("trainer.max_epochs=1", "trainer.precision=32-true", "n_resamples=100", "imbalance=focal"),
    *BARE[1:],
]
OWN = ["--config-dir=mine", "callbacks=note"]  # a user's own configuration and code
# One core a job, whatever the machine has: sums over several threads differ in the last digit.
N_JOBS = max(2, len(usable_cores()))
PARALLEL = ["hydra/launcher=processes", f"hydra.launcher.n_jobs={N_JOBS}"]
GAMMAS = "imbalance.loss.gamma=-1,0"


def begin(home: Path, *words: str) -> Forked:
    return start(home, *OPTIONS, "-m", *words)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]) -> Path:
    folder = tmp_path_factory.mktemp("launcher")
    for split, number in (("train", 4), ("test", 3)):
        write_images(folder / "images", {f"{split}/{name}": number for name in FOLDERS})
    (folder / "mine" / "callbacks").mkdir(parents=True)
    node = "note:\n  _target_: my_code.Note\n"
    (folder / "mine" / "callbacks" / "note.yaml").write_text(node)
    (folder / "my_code.py").write_text(
        "from pathlib import Path\nfrom pytorch_lightning import Callback\n"
        "class Note(Callback):\n    def on_fit_end(self, trainer, module):\n"
        "        Path(trainer.default_root_dir, 'note').touch()\n"
    )
    return folder


@pytest.fixture(scope="module")
def sweeps(home: Path) -> dict[str, Forked]:
    """The same two jobs with Hydra's launcher and with ours, and one of two processes a job.

    The first job of the first two cannot work.
    """
    ddp = ["+trainer.strategy=ddp", "trainer.devices=2", "seed=range(0,1)"]
    words = {
        "basic": [*OWN, "name=basic", GAMMAS],
        "ours": [*OWN, "name='our sweep, it\\'s'", GAMMAS, *PARALLEL],
        "ddp": ["callbacks=none", "name=ddp", *ddp, *PARALLEL],
    }
    done = {name: begin(home, *given) for name, given in words.items()}
    for forked in done.values():
        forked.process.join()
    return done


def test_a_sweep_leaves_what_it_leaves_with_hydras_launcher(
    sweeps: dict[str, Forked], home: Path
) -> None:
    basic, ours = home / "outputs" / "basic", home / "outputs" / "our sweep, it's"
    files = [
        {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
        for folder in (basic, ours)
    ]
    jobs = ["imbalance.loss.gamma--1", "imbalance.loss.gamma-0"]
    assert files[1] - files[0] == {f"{job}/output.log" for job in jobs}
    assert files[0] <= files[1]
    assert f"{jobs[1]}/note" in files[1]  # written by the user's own callback
    for name in ("summary.csv", "cells.csv"):
        assert (ours / name).read_bytes() == (basic / name).read_bytes()
    predictions = [folder / jobs[1] / "predictions.csv" for folder in (basic, ours)]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()
    plans = [read_json(folder / "sweep.json") for folder in (basic, ours)]
    assert plans[0].pop("command") != plans[1].pop("command")
    assert plans[0] == plans[1]


def test_a_failing_jobs_last_lines_and_the_exit_code_tell(
    sweeps: dict[str, Forked], home: Path
) -> None:
    ours = sweeps["ours"]
    assert ours.status == 1
    lines = ours.stdout.splitlines()
    assert lines[0] == "Sweep outputs/our sweep, it's: 2 jobs"
    told = [line for line in lines if line.startswith("Job ")]
    assert told[:2] == ["Job 1 of 2: imbalance.loss.gamma--1", "Job 2 of 2: imbalance.loss.gamma-0"]
    assert told[2] == "Job imbalance.loss.gamma--1 failed:"
    assert (
        "  train: `cxr_lightning.models.losses.FocalLoss` cannot be built: gamma should be greater "
        "than or equal to 0 (got -1)."
    ) in lines[lines.index(told[2]) :]
    assert ours.stderr == "cxr-train: 1 job failed: imbalance.loss.gamma--1\n"
    error = home / "outputs" / "our sweep, it's" / "imbalance.loss.gamma--1" / "error.txt"
    assert error.read_text().startswith("Traceback")


def test_a_job_of_two_processes_tests_every_image_once(
    sweeps: dict[str, Forked], home: Path
) -> None:
    assert sweeps["ddp"].status == 0, sweeps["ddp"].stdout + sweeps["ddp"].stderr
    job = home / "outputs" / "ddp" / "seed-0"
    assert read_json(job / "run.json")["processes"] == 2
    paths = pd.read_csv(job / "predictions.csv")["path"]
    assert len(paths) == paths.nunique() == 12
    assert sweeps["ddp"].stdout.count("Sweep outputs/ddp: 1 jobs") == 1


def test_ctrl_c_ends_the_jobs_and_the_exit_code_tells(home: Path) -> None:
    folder = home / "outputs" / "stopped"
    sweep = begin(home, "callbacks=none", "name=stopped", "seed=0,1", *PARALLEL)
    locks = [folder / f"seed-{seed}" / "config.yaml" for seed in (0, 1)]
    while not all(lock.exists() for lock in locks) and sweep.process.is_alive():
        time.sleep(0.02)
    assert sweep.process.pid is not None
    os.kill(sweep.process.pid, signal.SIGINT)
    assert sweep.status == 130
    assert sweep.stdout.endswith("Stopping 2 jobs, at most 30 s …\n")
    assert sweep.stderr == (
        "cxr-train: stopped; everything done so far is kept. Rerun the same command to resume.\n"
    )
    for file in locks:
        with FileLock(file.parent / ".lock", timeout=0):  # nobody writes there any more
            assert sorted(f.name for f in file.parent.iterdir() if f.suffix == ".txt") == []


def test_a_sweep_without_slots_is_refused(home: Path) -> None:
    refused = begin(home, "name=none", "seed=0,1", PARALLEL[0], "hydra.launcher.n_jobs=0")
    assert refused.status == 1
    assert refused.stderr == (
        "cxr-train: hydra.launcher.n_jobs=0: a whole number from 1 is needed.\n"
    )


# --- the command line of a job -------------------------------------------------------------------


def test_what_says_how_the_sweep_is_run_is_not_passed_to_its_jobs() -> None:
    of_the_sweep = ["hydra.mode=MULTIRUN", *PARALLEL, "hydra.sweep.dir=x", "hydra.run.dir=y"]
    of_the_job = ["hydra.verbose=true", "hydra/job_logging=none", "~hydra.callbacks.progress"]
    assert [w for w in (*of_the_sweep, *of_the_job) if not _is_of_the_sweep(w)] == of_the_job


# --- several processes with Hydra's launcher -----------------------------------------------------


@pytest.fixture
def in_a_sweep(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def begin() -> None:
        hydra = OmegaConf.create({"mode": RunMode.MULTIRUN})
        monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(HydraConfig, "get", lambda: hydra)

    return begin


def test_processes_that_would_start_the_sweep_again_are_refused(
    composed: Callable[..., DictConfig], in_a_sweep: Callable[[], None]
) -> None:
    config = parse(TrainConfig, composed("train", "trainer=ddp"))
    check_trainer(config)
    in_a_sweep()
    with pytest.raises(
        ConfigError,
        match=r"several devices inside a sweep needs hydra/launcher=processes; or",
    ):
        check_trainer(config)
    check_trainer(
        parse(TrainConfig, composed("train", "trainer=ddp", "trainer.strategy=ddp_spawn"))
    )


def test_so_are_those_that_lightning_chooses_by_itself(
    composed: Callable[..., DictConfig], in_a_sweep: Callable[[], None]
) -> None:
    config = parse(TrainConfig, composed("train", "trainer=cpu", "trainer.devices=2"))
    in_a_sweep()
    with pytest.raises(ConfigError, match="several devices inside a sweep"):
        check_trainer(config)
