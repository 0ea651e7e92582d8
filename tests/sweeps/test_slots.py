"""Jobs side by side: their shares of the machine, their processes, and an end that leaves none."""

import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.errors import ConfigError
from cxr_lightning.machine import usable_cores
from cxr_lightning.sweeps.launcher import Process, ProcessesLauncher
from cxr_lightning.sweeps.slots import Slot, slots, visible_gpus


def test_cores_are_divided_and_the_first_slots_get_what_is_over() -> None:
    assert [slot.cores for slot in slots(3, range(8), [])] == [(0, 1, 2), (3, 4, 5), (6, 7)]
    assert [slot.cores for slot in slots(3, [4, 6], [])] == [(4,), (6,), (4,)]  # one is shared
    assert [slot.number for slot in slots(3, [4, 6], [])] == [0, 1, 2]


@pytest.mark.parametrize(
    ("n", "gpus", "a_job", "expected"),
    [
        (2, ["0", "1"], 1, [("0",), ("1",)]),
        (3, ["5", "7"], 1, [("5",), ("7",), ("5",)]),
        (2, ["0", "1", "2", "3"], 2, [("0", "1"), ("2", "3")]),
        (1, ["0", "1"], 4, [("0", "1")]),  # more than there are
        (2, [], 1, [(), ()]),
    ],
)
def test_gpus_go_round(
    n: int, gpus: list[str], a_job: int, expected: list[tuple[str, ...]]
) -> None:
    assert [slot.gpus for slot in slots(n, [0], gpus, a_job)] == expected


def test_a_slots_variables_keep_a_job_within_its_share() -> None:
    assert Slot(0, (2, 3, 4), ("1", "3")).environment() == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "CUDA_VISIBLE_DEVICES": "1,3",
    }
    assert "CUDA_VISIBLE_DEVICES" not in Slot(0, (2,), ()).environment()


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("2, 3", ["2", "3"]), ("GPU-8f,MIG-1", ["GPU-8f", "MIG-1"]), ("", []), ("-1", [])],
)
def test_gpus_are_those_that_cuda_may_see(
    variable: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Where tests are started in the background, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Waits for another job's file; a job that never comes ends it after a while.
AWAIT = """
def wait_for(file):
    end = time.monotonic() + 60
    while not os.path.exists(file) and time.monotonic() < end: time.sleep(0.01)
    os.path.exists(file) or sys.exit(f"no {file}")
"""


def script(folder: Path, code: str, devices: int = 1) -> Process:
    """A job that runs Python code in its folder, instead of a training."""
    begin = f"import os, signal, subprocess, sys, time\nos.chdir({str(folder)!r})\n"
    config = OmegaConf.create({"trainer": {"devices": devices}})
    return Process(config, [sys.executable, "-c", begin + AWAIT + code], folder)


class Told:
    """Hydra's callbacks: when each job began and ended, in order."""

    def __init__(self, jobs: list[Process]) -> None:
        self.lines: list[str] = []
        self.names = {id(job.config): job.folder.name for job in jobs}

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.lines.append(f"{self.names[id(config)]} started")

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        self.lines.append(f"{self.names[id(config)]} ended")


def start(jobs: list[Process], n_jobs: int | None, grace_s: float = 30) -> list[str]:
    """Run the jobs; when each began and ended, in order."""
    launcher, told = ProcessesLauncher(n_jobs, grace_s), Told(jobs)
    config = OmegaConf.create({"hydra": {"hydra_logging": None, "verbose": False}})
    context = SimpleNamespace(callbacks=told)
    launcher.setup(hydra_context=context, task_function=None, config=config)  # type: ignore[arg-type]
    launcher._process = lambda number, overrides: jobs[number]  # type: ignore[method-assign]
    launcher.launch([[]] * len(jobs), 0)
    return told.lines


@pytest.fixture
def all_gone(tmp_path: Path) -> Iterator[Callable[[], bool]]:
    """Whether every process that opened the pipe `alive` for writing has ended."""
    os.mkfifo(tmp_path / "alive")
    pipe = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)

    def gone() -> bool:
        while select.select([pipe], [], [], 30)[0]:
            if not os.read(pipe, 100):
                return True
        return False

    yield gone
    os.close(pipe)


# Opened by a job, and by a child that outlives the job unless it is ended with it.
ALIVE = "alive = open('../alive', 'w'); alive.write('x'); alive.flush()\n"
CHILD = "subprocess.Popen(['sleep', '600'], pass_fds=[alive.fileno()])\n"


def test_a_job_has_a_process_a_session_and_a_share_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    # Each waits for the other: one slot a GPU runs them side by side.
    meet = "open('here', 'w'); wait_for(f'../{other}/here')\n"
    tell = (
        "print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', 'HYDRA_FULL_ERROR' in "
        "os.environ, os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])\n"
        "hasattr(os, 'sched_getaffinity') and print(sorted(os.sched_getaffinity(0)))\n"
    )
    jobs = [
        script(tmp_path / name, f"other = {other!r}\n{meet}{tell}")
        for name, other in (("a", "b"), ("b", "a"))
    ]
    told = start(jobs, n_jobs=None)
    assert told[:2] == ["a started", "b started"]
    assert sorted(told[2:]) == ["a ended", "b ended"]
    shares = slots(2, usable_cores(), ["4", "6"])
    for name, share in zip("ab", shares, strict=True):
        first, *affinity = (tmp_path / name / "output.log").read_text().splitlines()
        assert first == f"True True False {share.gpus[0]} {len(share.cores)}"
        assert affinity in ([], [str(list(share.cores))])


def test_jobs_wait_for_a_free_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_turn = ["a started", "a ended", "b started", "b ended"]
    code = "print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
    jobs = [script(tmp_path / name, code) for name in "ab"]
    assert start(jobs, n_jobs=1) == in_turn
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    both = [script(tmp_path / name, code, devices=2) for name in "ab"]
    assert start(both, n_jobs=None) == in_turn  # a job needs both GPUs
    assert (tmp_path / "a" / "output.log").read_text().splitlines()[-1] == "4,6"


def test_fewer_than_one_slot_is_refused() -> None:
    for n_jobs in (0, "two"):
        with pytest.raises(ConfigError, match=rf"n_jobs={n_jobs}: a whole number from 1 is needed"):
            ProcessesLauncher(n_jobs)  # type: ignore[arg-type]


def test_a_free_slot_takes_the_next_job_without_waiting_for_the_others(tmp_path: Path) -> None:
    # `long` ends only when the third job has run: in batches of two it never would.
    jobs = [
        script(tmp_path / "long", "wait_for('../third/here')"),
        script(tmp_path / "short", ""),
        script(tmp_path / "third", "open('here', 'w')"),
    ]
    told = start(jobs, n_jobs=2)
    assert told[:2] == ["long started", "short started"]
    assert told.index("third started") < told.index("long ended")


def test_a_failing_jobs_last_lines_are_shown_and_others_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [
        script(tmp_path / "exits", "for i in range(20): print(f'line{i}')\nsys.exit(3)"),
        script(tmp_path / "killed", "os.kill(os.getpid(), signal.SIGKILL)"),
        script(tmp_path / "told", "open('error.txt', 'w').write('ValueError: x'); sys.exit(1)"),
        script(tmp_path / "works", ""),
    ]
    assert start(jobs, n_jobs=1)[-1] == "works ended"
    shown = [line.strip() for line in capfd.readouterr().out.splitlines()]
    assert shown[:16] == ["Job exits failed:", *(f"line{i}" for i in range(5, 20))]
    assert shown[16] == f"(in {tmp_path / 'exits'}: error.txt, output.log)"
    errors = [(tmp_path / name / "error.txt") for name in ("exits", "killed", "told")]
    assert [file.read_text().strip() for file in errors] == [
        "ProcessError: ended with status 3 (no trace); see output.log",
        "ProcessError: ended with status -9 (signal 9); see output.log",
        "ValueError: x",
    ]
    assert not (tmp_path / "works" / "error.txt").exists()


def test_what_a_job_leaves_running_is_ended_with_it(
    tmp_path: Path, all_gone: Callable[[], bool]
) -> None:
    start([script(tmp_path / "a", ALIVE + CHILD)], n_jobs=1)
    assert all_gone()


def waits(then: str) -> str:
    """A job that is ready and stays until it is asked to stop, when it does `then`."""
    asked = f"def asked(*_):\n    open('asked', 'w')\n    {then}\n"
    return f"{ALIVE}{asked}signal.signal(signal.SIGTERM, asked)\nopen('ready', 'w')\n"


def sends(number: str) -> str:
    """Sends the sweep a signal, once the other job is ready."""
    return f"wait_for('../saves/ready')\nos.kill(os.getppid(), signal.{number})\n"


STAY = "while True: signal.pause()\n"
ENDS = "sys.exit(143)"


def stop_jobs(folder: Path, grace_s: float, then: str = "pass") -> None:
    """A sweep that gets Ctrl-C when both of its jobs run, of which one does not stop."""
    saves = script(folder / "saves", waits(ENDS) + CHILD + STAY)
    stubborn = script(folder / "stubborn", waits(then) + CHILD + sends("SIGINT") + STAY)
    start([saves, stubborn, script(folder / "later", "")], 2, grace_s)


def test_ctrl_c_ends_every_job_and_starts_no_other(
    tmp_path: Path, all_gone: Callable[[], bool], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_jobs(tmp_path, grace_s=1)
    assert all_gone()  # the stubborn one and the jobs' children too
    assert capfd.readouterr().out == "Stopping 2 jobs, at most 1 s …\n"
    assert (tmp_path / "saves" / "asked").exists()
    assert (tmp_path / "stubborn" / "asked").exists()
    assert not (tmp_path / "later").exists()
    assert not list(tmp_path.glob("*/error.txt"))  # they were stopped and have not failed


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, all_gone: Callable[[], bool]) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop_jobs(tmp_path, grace_s=3600, then="os.kill(os.getppid(), signal.SIGINT)")
    assert all_gone()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such jobs run to their end")
def test_jobs_are_asked_to_stop_when_the_sweep_is_killed(
    tmp_path: Path, all_gone: Callable[[], bool]
) -> None:
    jobs = [
        script(tmp_path / "saves", waits(ENDS) + STAY),
        script(tmp_path / "killer", waits(ENDS) + sends("SIGKILL") + STAY),
    ]
    sweep = multiprocessing.get_context("fork").Process(target=start, args=(jobs, 2))
    sweep.start()
    sweep.join()
    assert sweep.exitcode == -signal.SIGKILL
    assert all_gone()
    assert all((job.folder / "asked").exists() for job in jobs)
