"""A search's trials: which is next, how each ended, and what an interruption leaves."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher

from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.database import STORAGE_VARIABLE, hand_to_jobs, open_storage
from cxr_lightning.sweeps import search as search_module
from cxr_lightning.sweeps.plan import Plan, quoted, read_plan, write_plan
from cxr_lightning.sweeps.search import Search, own_study, run_search
from cxr_lightning.sweeps.trials import counted

FORK = multiprocessing.get_context("fork")
F1 = {"val/f1_macro": "maximize"}
CONTINUOUS = ("optim.lr=tag(log, interval(1e-4, 1e-2))", "model=choice(cnn5, resnet18)")
FOUR_POINTS = ("model=choice(cnn5, resnet18)", "augment.crop.padding=range(0, 2)")
MEDIAN = {"_target_": "optuna.pruners.MedianPruner"}
RANDOM = {"_target_": "optuna.samplers.RandomSampler"}
TPE = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3, "multivariate": True}


def make_search(folder: Path, n_trials: int, *words: str, **options: Any) -> Search:
    given = {"objectives": F1, "sampler": RANDOM, "pruner": MEDIAN, "study_name": "study"}
    given |= {"storage": f"sqlite:///{folder}/study.db", "heartbeat_s": 1}
    overrides = OverridesParser.create().parse_overrides(list(words or CONTINUOUS))
    search = Search(
        folder=folder,
        n_trials=n_trials,
        overrides=overrides,
        place=lambda name: [f"folder={quoted(str(folder / name))}"],
        **given | options,
    )
    write_plan(folder, Plan(True, "cxr-train", [], list(search.space), 9, search.jobs()))
    return search


class FakeLauncher:
    """Writes what jobs leave; a trial's F1 is its folder's number / 100.

    `ends`: other ends by folder's number: `failed`, `nan`, `inf`, `pruned`, or a call midway.
    """

    def __init__(self, ends: dict[int, str | Callable[[], Any]] | None = None):
        self.ends = ends or {}
        self.batches: list[list[int]] = []
        self.points: dict[int, list[str]] = {}

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> None:
        runs = [Path(str(read(words)["folder"])) for words in jobs]
        numbers = [int(run.name.removeprefix("trial-")) for run in runs]
        self.batches.append(numbers)
        for number, words, run in zip(numbers, jobs, runs, strict=True):
            self.points[number] = words[:-2]  # search=… and its folder follow
            run.mkdir(exist_ok=True)
            (run / "config.yaml").write_text("seed: 0\n")
            with (run / "started.log").open("a") as file:
                file.write(f"{os.getpid()}\n")
            end = self.ends.get(number)
            if callable(end):
                end()
            if end in ("failed", "pruned"):
                (run / {"failed": "error.txt", "pruned": "pruned.json"}[end]).write_text("{}")
            else:
                f1 = {"nan": "", "inf": "inf"}.get(str(end), number / 100)
                rows = f"epoch,val/f1_macro,val/loss\n0,{f1},{1 - number / 10}\n"
                (run / "curves.csv").write_text(rows)
                (run / "metrics.json").write_text("{}")


def read(words: list[str]) -> dict[str, Any]:
    parsed = OverridesParser.create().parse_overrides(words)
    return {override.key_or_group: override.value() for override in parsed}


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    signal.raise_signal(signal.SIGKILL)


def launched(search: Search, ends: Any = None, n_jobs: int = 1) -> FakeLauncher:
    launcher = FakeLauncher(ends)
    run_search(search, cast("Launcher", launcher), n_jobs)
    return launcher


def run(folder: Path, n_trials: int, *words: str, ends: Any = None, **options: Any) -> FakeLauncher:
    return launched(make_search(folder, n_trials, *words, **options), ends)


def states(search: Search) -> list[str]:
    return [trial.state.name for trial in counted(search.study)]


def test_a_job_gets_what_is_fixed_its_point_its_trial_and_its_folder(tmp_path: Path) -> None:
    fixed = ["trainer.max_epochs=3", "data=phantom"]
    search = make_search(tmp_path, 1, *CONTINUOUS, *fixed)
    asked = search.ask()
    assert asked is not None and asked[1][:2] == fixed
    job, params = read(asked[1]), search.study.trials[0].params
    assert job["optim.lr"] == params["optim.lr"] and job["model"] == params["model"]
    assert job["folder"] == str(tmp_path / "trial-000")
    study = {"study": "study", "storage": f"sqlite:///{tmp_path}/study.db", "objectives": F1}
    assert job["search"] == {**study, "pruner": MEDIAN, "trial": 0}
    values = {"optim.lr": repr(params["optim.lr"]), "model": params["model"]}
    assert [(one.name, one.values) for one in read_plan(tmp_path).jobs] == [("trial-000", values)]


def test_n_trials_is_the_total_and_only_missing_ones_are_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, 2).batches == [[0], [1]]
    assert run(tmp_path, 5).batches == [[2], [3], [4]]
    capsys.readouterr()
    assert run(tmp_path, 5).batches == []
    assert run(tmp_path, 3).batches == []  # fewer than there are
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "5 trials: 5 complete"
    assert second.startswith("Best: trial-004, val/f1_macro 0.0400, with optim.lr=")


def test_a_resumed_search_draws_what_one_without_a_stop_draws(tmp_path: Path) -> None:
    straight = run(tmp_path / "straight", 6, sampler=TPE).points
    run(tmp_path / "stopped", 2, sampler=TPE)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 6, sampler=TPE, ends={4: interrupt})
    resumed = run(tmp_path / "stopped", 6, sampler=TPE).points
    assert list(resumed) == [4, 5]  # the interrupted one first
    assert resumed == {number: straight[number] for number in resumed}
    assert len({tuple(point) for point in straight.values()}) == 6
    assert run(tmp_path / "other", 1, sampler=TPE, seed=7).points[0] != straight[0]


def test_a_finite_space_is_searched_once_and_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "DRAWS", 1)  # sooner than by 20: it draws what it has had
    points = [run(tmp_path, n, *FOUR_POINTS).points for n in (1, 3, 9)]
    assert [len(some) for some in points] == [1, 2, 1]  # 2 × 2 points
    assert len({tuple(point) for some in points for point in some.values()}) == 4
    sentence = "All 4 points of the space have been tried: the search ends here.\n"
    assert sentence in capsys.readouterr().out


# --- samplers that remember ----------------------------------------------------------------------


def test_genetic_search_breeds_from_what_was_good(tmp_path: Path) -> None:
    # A scratch study had no generations: every draw was a random one, however many had ended.
    nsga = {"_target_": "optuna.samplers.NSGAIISampler", "population_size": 4}
    search = make_search(tmp_path, 12, "optim.lr=interval(0, 1)", "b=interval(0, 1)", sampler=nsga)
    launched(search)
    trials = counted(search.study)
    generations = [t.system_attrs["NSGAIISampler:generation"] for t in trials]
    assert generations == [0] * 4 + [1] * 4 + [2] * 4
    # Uniform crossover takes each parameter from a parent, but for the share that mutates.
    first = {value for trial in trials[:4] for value in trial.params.values()}
    bred = [value for trial in trials[4:8] for value in trial.params.values()]
    assert sum(value in first for value in bred) >= 2


def test_quasi_random_points_are_one_sequence_over_starts(tmp_path: Path) -> None:
    # It keeps its position in the study: a scratch study gave 2 different points of 12.
    qmc = {"_target_": "optuna.samplers.QMCSampler", "warn_independent_sampling": False}
    words = ("optim.lr=interval(0, 1)", "b=interval(0, 1)")
    for n_trials in (5, 12):
        run(tmp_path, n_trials, *words, sampler=qmc)
    points = [t.params for t in make_search(tmp_path, 12, *words).study.trials]
    drawn = sorted(point["optim.lr"] for point in points[1:])  # Optuna draws the first at random
    expected = optuna.create_study(sampler=optuna.samplers.QMCSampler(seed=0))
    space = {k: optuna.distributions.FloatDistribution(0, 1) for k in ("optim.lr", "b")}
    for _ in range(12):
        expected.tell(expected.ask(space), 0.0)
    assert drawn == sorted(t.params["optim.lr"] for t in expected.trials[1:])
    assert len(drawn) == 11 == len(set(drawn))


def test_a_grid_sampler_ends_the_search_when_it_has_no_further_point(tmp_path: Path) -> None:
    grid = {"optim.lr": [0.1, 0.2], "model": ["cnn5", "resnet18"]}
    sampler = {"_target_": "optuna.samplers.GridSampler", "search_space": grid}
    words = ("optim.lr=interval(0, 1)", "model=choice(cnn5, resnet18)")
    assert len(run(tmp_path, 9, *words, sampler=sampler).points) == 4


# --- interruptions -------------------------------------------------------------------------------


def test_ctrl_c_puts_the_trials_of_a_batch_back_with_their_points(tmp_path: Path) -> None:
    search, launcher = make_search(tmp_path, 5), FakeLauncher({3: interrupt})
    with pytest.raises(KeyboardInterrupt):
        run_search(search, cast("Launcher", launcher), 2)
    # Trial 2 of the batch was done, but nobody has told: its job will say that it is finished.
    assert states(search) == ["COMPLETE", "COMPLETE", "WAITING", "WAITING"]
    again = launched(make_search(tmp_path, 5), n_jobs=2)
    assert again.batches == [[2, 3], [4]]
    assert [again.points[n] for n in (2, 3)] == [launcher.points[n] for n in (2, 3)]
    assert states(search) == ["COMPLETE"] * 5


def test_a_worker_killed_while_it_draws_leaves_no_trial_behind(tmp_path: Path) -> None:
    search = make_search(tmp_path, 2)
    search.study.ask(search.space)  # and no folder yet: nobody can say whose it is
    assert run(tmp_path, 2).batches == [[0], [1]]
    assert states(search) == ["COMPLETE"] * 2


def test_a_trial_whose_worker_is_killed_each_time_fails_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_lightning.runs.database.MOST_RETRIES", 1)  # of 2: each takes 4 s
    seen = []
    for _ in range(2):
        start_worker(tmp_path, 2, {0: die}).join()
        seen.append(len((tmp_path / "trial-000" / "started.log").read_text().split()))
    assert seen == [1, 2]
    assert run(tmp_path, 2).batches == []  # a worker ran trial 1 until it knew that 0 was dead
    assert sorted(states(make_search(tmp_path, 2))) == ["COMPLETE", "FAIL"]


def test_a_trial_that_is_stopped_on_purpose_may_be_resumed_however_often(tmp_path: Path) -> None:
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 1, ends={0: interrupt})
    assert states(make_search(tmp_path, 1)) == ["WAITING"]
    assert run(tmp_path, 1).batches == [[0]]


def test_a_search_whose_first_trials_all_fail_stops_and_can_be_fixed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^The first 3 trials failed, so the search stops"):
        run(tmp_path, 9, ends=dict.fromkeys(range(9), "failed"))
    assert states(make_search(tmp_path, 9)) == ["FAIL"] * 3
    assert run(tmp_path, 5).batches == [[3], [4]]


def test_failed_nan_and_pruned_trials_are_marked_and_the_search_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run(tmp_path, 5, ends={0: "failed", 1: "nan", 2: "pruned", 3: "inf"})
    assert ended.batches == [[0], [1], [2], [3], [4]]
    assert states(make_search(tmp_path, 5)) == ["FAIL", "FAIL", "PRUNED", "FAIL", "COMPLETE"]
    assert "5 trials: 3 fail, 1 pruned, 1 complete" in capsys.readouterr().out


def test_a_misspelt_objective_ends_the_search_and_keeps_the_trial(tmp_path: Path) -> None:
    misspelt = {"objectives": {"val/f1": "maximize"}}
    with pytest.raises(ConfigError, match=r"The objective val/f1 is not logged"):
        run(tmp_path, 2, **misspelt)
    assert states(make_search(tmp_path, 2, **misspelt)) == ["WAITING"]
    assert run(tmp_path, 2).batches == [[0], [1]]  # fixed


# --- several workers -----------------------------------------------------------------------------


def start_worker(
    folder: Path, n_trials: int, ends: Any = None, begin: Barrier | None = None
) -> Any:
    """A process that searches, forked from this one; `begin` holds it until all are there."""

    def work() -> None:
        if begin is not None:
            begin.wait(60)
        launched(make_search(folder, n_trials), ends)

    process = FORK.Process(target=work)
    process.start()
    return process


def test_a_killed_workers_trial_is_run_again_with_its_point_in_its_folder(tmp_path: Path) -> None:
    killed = start_worker(tmp_path, 3, {1: die})
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    search = make_search(tmp_path, 3)
    assert states(search) == ["COMPLETE", "RUNNING"]
    left = search.study.trials[1].params
    again = launched(search)
    assert sorted(number for batch in again.batches for number in batch) == [1, 2]
    assert again.points[1] == [f"optim.lr={left['optim.lr']!r}", f"model={left['model']}"]
    assert states(search) == ["COMPLETE"] * 3


def test_two_workers_share_a_study_and_run_no_trial_twice(tmp_path: Path) -> None:
    search, meeting = make_search(tmp_path, 7), FORK.Barrier(2)
    meet = {0: lambda: meeting.wait(60), 1: lambda: meeting.wait(60)}  # both run at the same time
    both = [start_worker(tmp_path, 7, meet) for _ in range(2)]
    for worker in both:
        worker.join()
    assert [worker.exitcode for worker in both] == [0, 0]
    started = [(tmp_path / f"trial-{n:03d}" / "started.log").read_text() for n in range(7)]
    assert all(text.count("\n") == 1 for text in started)
    assert set(map(int, started)) == {worker.pid for worker in both}
    assert len({tuple(trial.params.items()) for trial in counted(search.study)}) == 7
    assert states(search) == ["COMPLETE"] * 7


def test_workers_may_start_at_the_same_moment(tmp_path: Path) -> None:
    begin = FORK.Barrier(4)
    four = [start_worker(tmp_path, 3, begin=begin) for _ in range(4)]
    for worker in four:
        worker.join()
    assert [worker.exitcode for worker in four] == [0] * 4
    assert states(make_search(tmp_path, 3)) == ["COMPLETE"] * 3


# --- the database's password ---------------------------------------------------------------------


def test_a_password_reaches_the_jobs_by_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    # SQLite ignores user and password of a URL's query, which is enough to have one here.
    url = "mysql+pymysql://me:sec:ret@host/studies"
    opened = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/x.db")
    monkeypatch.setattr(search_module, "open_storage", lambda *_: opened)
    search = make_search(tmp_path, 1, storage=url)
    asked = search.ask()
    assert asked is not None
    assert read(asked[1])["search"]["storage"] == "mysql+pymysql://me:***@host/studies"
    assert os.environ[STORAGE_VARIABLE] == url
    # Given with the password in the environment only, as on another machine, it stays there.
    hidden = "mysql+pymysql://me:***@host/studies"
    assert (hand_to_jobs(hidden), os.environ[STORAGE_VARIABLE]) == (hidden, url)
    assert "sec" not in "".join(f.read_text() for f in tmp_path.glob("*.json"))


def test_a_hidden_password_that_is_nowhere_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORAGE_VARIABLE, "mysql://me:secret@other/studies")
    with pytest.raises(ConfigError) as caught:
        open_storage("mysql://me:***@host/studies")
    assert str(caught.value) == (
        "The study's database is mysql://me:***@host/studies. Set the environment variable "
        f"{STORAGE_VARIABLE} to this URL with its password."
    )


def test_a_database_that_cannot_be_opened_is_a_sentence_without_its_password() -> None:
    with pytest.raises(ConfigError, match="cannot be opened") as caught:
        open_storage("nodriver://me:secret@host/studies")
    assert "secret" not in str(caught.value)


def test_without_optuna_a_search_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "cxr_lightning.runs.database")
    with pytest.raises(ConfigError, match=r"needs Optuna: pip install 'cxr-lightning\[search\]'$"):
        importlib.import_module("cxr_lightning.runs.database")


def test_a_renamed_search_keeps_its_study(tmp_path: Path) -> None:
    assert own_study(tmp_path / "then") is None
    run(tmp_path / "then", 3)
    (tmp_path / "then").rename(tmp_path / "now")
    assert own_study(tmp_path / "now") == "study"
