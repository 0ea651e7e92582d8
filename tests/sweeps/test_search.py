"""A search's trials: which is next, how each ended, and what an interruption leaves."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cxr_lightning.errors import ConfigError
from cxr_lightning.sweeps import search as search_module
from cxr_lightning.sweeps import workers
from cxr_lightning.sweeps.search import Launch, Search

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
    write_plan(folder, search.continued(Plan(True, "cxr-train", [], list(search.space), 9, [])))
    return search


class FakeLauncher:
    """Writes what jobs leave; a trial's F1 is its number / 100.

    `ends`: other ends by trial: `failed`, `nan`, `inf`, `pruned`, or what is called midway.
    """

    def __init__(self, folder: Path, ends: dict[int, str | Callable[[], Any]] | None = None):
        self.folder, self.ends = folder, ends or {}
        self.batches: list[list[int]] = []
        self.jobs: dict[int, list[str]] = {}

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> None:
        parsed = [OverridesParser.create().parse_overrides(words) for words in jobs]
        values = [{o.key_or_group: o.value() for o in overrides} for overrides in parsed]
        numbers = [int(job["search"]["trial"]) for job in values]
        self.batches.append(numbers)
        assert initial_job_idx == numbers[0]
        for number, words, job in zip(numbers, jobs, values, strict=True):
            self.jobs[number] = words
            run = Path(str(job["folder"]))
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

    @property
    def points(self) -> dict[int, list[str]]:
        return {n: words[:-2] for n, words in self.jobs.items()}  # search=… and its folder follow


def interrupt() -> None:
    raise KeyboardInterrupt


def run(folder: Path, n_trials: int, *words: str, **options: Any) -> FakeLauncher:
    launch = FakeLauncher(folder, options.pop("ends", None))
    search(make_search(folder, n_trials, *words, **options), launch)
    return launch


def search(one: Search, launcher: FakeLauncher, n_jobs: int = 1) -> None:
    run_search(one, cast("Launcher", launcher), n_jobs)


def states(search: Search) -> list[str]:
    return [trial.state.name for trial in search.study.trials]


def test_a_job_gets_what_is_fixed_its_point_its_folder_and_its_trial(tmp_path: Path) -> None:
    fixed = ["trainer.max_epochs=3", "data=phantom"]
    search, launch = make_search(tmp_path, 1, *CONTINUOUS, *fixed), FakeLauncher(tmp_path)
    search.run(launch)
    assert launch.jobs[0][:2] == fixed
    read = {
        o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(launch.jobs[0])
    }
    params = search.study.trials[0].params
    assert read["optim.lr"] == params["optim.lr"] and read["model"] == params["model"]
    assert read["hydra.sweep.subdir"] == "trial-000"
    study = {"study": "study", "storage": f"sqlite:///{tmp_path}/study.db", "objectives": F1}
    assert read["search"] == {**study, "pruner": MEDIAN, "trial": 0}


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


def test_ctrl_c_puts_the_trials_of_a_batch_back_with_their_points(tmp_path: Path) -> None:
    search, launch = make_search(tmp_path, 5), FakeLauncher(tmp_path, {3: interrupt})
    with pytest.raises(KeyboardInterrupt):
        search.run(launch, batch_size=2)
    # Trial 2 of the batch was done, but nobody has told: its job will say that it is finished.
    assert states(search) == ["COMPLETE", "COMPLETE", "WAITING", "WAITING"]
    again = FakeLauncher(tmp_path)
    make_search(tmp_path, 5).run(again, batch_size=2)
    assert again.batches == [[2, 3], [4]]
    assert [again.points[n] for n in (2, 3)] == [launch.points[n] for n in (2, 3)]
    assert states(search) == ["COMPLETE"] * 5


def test_ctrl_c_between_drawing_and_starting_loses_no_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = make_search(tmp_path, 2)
    monkeypatch.setattr(search.study, "ask", lambda space: interrupt())
    with pytest.raises(KeyboardInterrupt):
        search.run(FakeLauncher(tmp_path))
    drawn = search.study.trials[0].system_attrs["fixed_params"]
    launch = run(tmp_path, 2)
    assert launch.batches == [[0], [1]]
    assert launch.points[0] == [f"optim.lr={drawn['optim.lr']!r}", f"model={drawn['model']}"]


def test_a_trial_whose_worker_is_killed_three_times_has_failed(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        killed = start_worker(
            tmp_path, 2, FakeLauncher(tmp_path, {0: lambda: signal.raise_signal(signal.SIGKILL)})
        )
        killed.join()
        search = make_search(tmp_path, 2)
        search._put_back_killed("another")
        seen.append(states(search))
    assert seen == [["WAITING"], ["WAITING"], ["FAIL"]]
    assert run(tmp_path, 2).batches == [[1]]


def test_a_trial_that_is_stopped_on_purpose_may_go_on_however_often(tmp_path: Path) -> None:
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 1, ends={0: interrupt})
    assert states(make_search(tmp_path, 1)) == ["WAITING"]
    assert run(tmp_path, 1).batches == [[0]]


def test_a_search_whose_first_trials_all_fail_stops_and_can_be_mended(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^The first 3 trials failed, so the search stops"):
        run(tmp_path, 9, ends=dict.fromkeys(range(9), "failed"))
    assert states(make_search(tmp_path, 9)) == ["FAIL"] * 3
    assert run(tmp_path, 5).batches == [[3], [4]]


def test_failed_nan_and_pruned_trials_are_marked_and_the_search_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = run(tmp_path, 5, ends={0: "failed", 1: "nan", 2: "pruned", 3: "inf"})
    assert launch.batches == [[0], [1], [2], [3], [4]]
    assert states(make_search(tmp_path, 5)) == ["FAIL", "FAIL", "PRUNED", "FAIL", "COMPLETE"]
    assert "5 trials: 3 fail, 1 pruned, 1 complete" in capsys.readouterr().out


def test_a_misspelt_objective_ends_the_search_and_keeps_the_trial(tmp_path: Path) -> None:
    misspelt = {"objectives": {"val/f1": "maximize"}}
    with pytest.raises(ConfigError, match=r"The objective val/f1 is not logged"):
        run(tmp_path, 2, **misspelt)
    assert states(make_search(tmp_path, 2, **misspelt)) == ["WAITING"]
    assert run(tmp_path, 2).batches == [[0], [1]]  # mended


def start_worker(folder: Path, n_trials: int, launch: Launch, start: Barrier | None = None) -> Any:
    """A process that searches, forked from this one; `start` holds it until all are there."""

    def work() -> None:
        if start is not None:
            start.wait(60)
        make_search(folder, n_trials).run(launch)

    process = FORK.Process(target=work)
    process.start()
    return process


@pytest.mark.parametrize("pid", [7, 1])  # in a container that is started again it is the same
def test_a_killed_workers_trial_is_the_next_to_run_with_its_point(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {1: lambda: signal.raise_signal(signal.SIGKILL)}
    monkeypatch.setattr(workers, "os", SimpleNamespace(getpid=lambda: 7))
    killed = start_worker(tmp_path, 3, FakeLauncher(tmp_path, ends))
    killed.join()
    monkeypatch.setattr(workers, "os", SimpleNamespace(getpid=lambda: pid))
    assert killed.exitcode == -signal.SIGKILL
    search, launch = make_search(tmp_path, 3), FakeLauncher(tmp_path)
    assert states(search) == ["COMPLETE", "RUNNING"]
    left = search.study.trials[1].params
    search.run(launch)
    assert launch.batches == [[1], [2]]
    assert launch.points[1] == [f"optim.lr={left['optim.lr']!r}", f"model={left['model']}"]
    assert states(search) == ["COMPLETE"] * 3


def test_two_workers_share_a_study_and_run_no_trial_twice(tmp_path: Path) -> None:
    search, meeting = make_search(tmp_path, 7), FORK.Barrier(2)
    meet = {0: lambda: meeting.wait(60), 1: lambda: meeting.wait(60)}  # both run at the same time
    both = [start_worker(tmp_path, 7, FakeLauncher(tmp_path, meet)) for _ in range(2)]
    for worker in both:
        worker.join()
    assert [worker.exitcode for worker in both] == [0, 0]
    started = [(tmp_path / f"trial-{n:03d}" / "started.log").read_text() for n in range(7)]
    assert all(text.count("\n") == 1 for text in started)
    assert set(map(int, started)) == {worker.pid for worker in both}
    assert len({tuple(trial.params.items()) for trial in search.study.trials}) == 7
    assert states(search) == ["COMPLETE"] * 7
    assert list((tmp_path / "workers").iterdir()) == []


def test_workers_may_start_at_the_same_moment(tmp_path: Path) -> None:
    start = FORK.Barrier(4)
    four = [start_worker(tmp_path, 3, FakeLauncher(tmp_path), start) for _ in range(4)]
    for worker in four:
        worker.join()
    assert [worker.exitcode for worker in four] == [0] * 4
    assert states(make_search(tmp_path, 3)) == ["COMPLETE"] * 3
