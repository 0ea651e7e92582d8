"""A search from the command line, killed in the middle of a trial and started again."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
import pandas as pd
import pytest
from forked_commands import Forked, start
from small_runs import CHECKPOINTS_ONLY, FOLDERS

from cxr_lightning.runs.folder import job_state
from cxr_lightning.sweeps.trials import counted, job_of

KILLER = '''
import os, signal
from pathlib import Path
from pytorch_lightning import Callback

class KillOnce(Callback):
    """In the second epoch of the second trial; `killed` in the sweep's folder says that it was."""

    def on_train_epoch_start(self, trainer, pl_module):
        folder = Path(trainer.default_root_dir)
        mark = folder.parent / "killed"
        if folder.name == "trial-001" and trainer.current_epoch == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''


@dataclass(frozen=True)
class Searched:
    """A search: how its starts ended, what they printed, and what the first one left."""

    folder: Path
    trials: list[optuna.trial.FrozenTrial]
    returned: list[int]
    printed: list[str]
    left: dict[str, Any]


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{folder}/study.db"
    found = counted(optuna.load_study(study_name="search", storage=url))
    return sorted(found, key=job_of)


@pytest.fixture(scope="module")
def searches(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]
) -> dict[str, Searched]:
    """`straight`: without a stop; `killed`: in the middle of its second trial, and resumed."""
    place = tmp_path_factory.mktemp("search")
    folders = [f"{split}/{name}" for split in ("train", "test") for name in FOLDERS]
    write_images(place / "images", dict.fromkeys(folders, 8))
    (place / "killer.py").write_text(KILLER)
    words = [
        *("-m", "hparams_search=optuna"),
        *("data=kaggle", f"data.root='{place}/images'", f"data.cache_dir='{place}/cache'"),
        *("data.image_size=32", "data.num_workers=0", "data.batch_size=8", "n_resamples=100"),
        *("split.val_fraction=0.25", "trainer=cpu", "trainer.precision=32-true"),
        *("trainer.max_epochs=2", "+trainer.enable_progress_bar=false", *CHECKPOINTS_ONLY),
        *("+callbacks.kill={_target_: killer.KillOnce}", "model=cnn5"),
        *("hydra.sweeper.n_trials=3", "hydra.sweeper.pruner.n_warmup_steps=0"),
        *("hydra.sweeper.heartbeat_s=1", "hydra.sweeper.objectives=[{val/f1_macro:maximize}]"),
        "optim.lr=tag(log, interval(1e-4, 1e-3))",
    ]

    def begin(name: str) -> Forked:
        (place / name).mkdir(exist_ok=True)
        return start(place / name, *words, before=lambda: sys.path.append(str(place)))

    sweeps = {name: place / name / "outputs" / "search" for name in ("straight", "killed")}
    sweeps["straight"].mkdir(parents=True)
    (sweeps["straight"] / "killed").touch()
    first = {name: begin(name) for name in sweeps}
    returned = {name: [forked.status] for name, forked in first.items()}
    printed = {name: [forked.stdout + forked.stderr] for name, forked in first.items()}
    killed = sweeps["killed"]
    left = {
        "states": [trial.state.name for trial in trials_of(killed)],
        "params": trials_of(killed)[-1].params,
        "job": job_state(killed / "trial-001"),
        "epochs": pd.read_csv(killed / "trial-001" / "curves.csv")["epoch"].tolist(),
    }
    again = begin("killed")
    returned["killed"].append(again.status)
    printed["killed"].append(again.stdout + again.stderr)
    return {
        name: Searched(folder, trials_of(folder), returned[name], printed[name], left)
        for name, folder in sweeps.items()
    }


def test_the_first_start_was_killed_in_the_middle_of_a_trial(searches: dict[str, Searched]) -> None:
    killed = searches["killed"]
    assert killed.returned == [-signal.SIGKILL, 0], killed.printed[-1]
    assert killed.left["states"] == ["COMPLETE", "RUNNING"]
    assert (killed.left["job"], killed.left["epochs"]) == ("unfinished", [0])


def test_the_interrupted_trial_is_next_and_the_total_is_what_was_asked(
    searches: dict[str, Searched],
) -> None:
    killed = searches["killed"]
    assert [trial.state.name for trial in killed.trials] == ["COMPLETE"] * 3
    assert killed.trials[1].params == killed.left["params"]
    lines = killed.printed[1].splitlines()
    assert lines[0] == "Sweep outputs/search: 3 jobs, of which 1 finished, 1 unfinished"
    jobs = [line.split(" optim.lr=") for line in lines if line.startswith("Job ")]
    assert [job for job, _ in jobs] == [f"Job {n + 1} of 3: trial-00{n}" for n in (1, 2)]
    assert f"{float(jobs[0][1].split()[0]):.3g}" == f"{killed.left['params']['optim.lr']:.3g}"
    assert all(" imbalance=" in drawn for _, drawn in jobs)
    assert "3 trials: 3 complete" in lines
    folders = sorted(folder.name for folder in killed.folder.glob("trial-*"))
    assert folders == ["trial-000", "trial-001", "trial-002"]


def test_a_killed_search_ends_as_one_without_a_stop(searches: dict[str, Searched]) -> None:
    straight, killed = searches["straight"], searches["killed"]
    assert straight.returned == [0], straight.printed[0]
    for one, other in zip(straight.trials, killed.trials, strict=True):
        assert (one.params, one.values) == (other.params, other.values)
        assert one.intermediate_values == other.intermediate_values
    curves = [pd.read_csv(each.folder / "trial-001" / "curves.csv") for each in (straight, killed)]
    pd.testing.assert_frame_equal(*curves)
    for file in ("trial-001/predictions.csv", "summary.csv"):
        assert (straight.folder / file).read_bytes() == (killed.folder / file).read_bytes()


def test_a_trials_value_and_reports_are_those_of_its_curve(searches: dict[str, Searched]) -> None:
    for trial in searches["killed"].trials:
        file = searches["killed"].folder / job_of(trial) / "curves.csv"
        curve = pd.read_csv(file, engine="python")  # C's rounds the last digit
        assert curve["epoch"].tolist() == [0, 1]
        assert trial.value == curve["val/f1_macro"].max()
        assert trial.intermediate_values == curve["val/f1_macro"].to_dict()
        assert set(trial.params) == {
            *("optim.lr", "optim.weight_decay", "imbalance"),
            *("augment.rotate.degrees", "augment.crop.share"),  # model=cnn5 was given
        }
        assert 1e-4 <= trial.params["optim.lr"] <= 1e-3  # not the configured 1e-2


def test_the_report_shows_the_search_and_its_best_trial(searches: dict[str, Searched]) -> None:
    killed = searches["killed"]
    page = (killed.folder / "report.html").read_text(encoding="utf-8")
    best = max(killed.trials, key=lambda trial: cast("float", trial.value))
    assert "<p>3 trials: 3 complete</p>" in page
    name = job_of(best)
    assert f"<p>Best: {name}, val/f1_macro {best.value:.4f}, with optim.lr=" in page
    for title in ("val/f1_macro: history", "importance of each parameter", "All 3 trials"):
        assert title in page
