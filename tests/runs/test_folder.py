"""A run's folder: what state it is in, who may write to it, and what a failure leaves."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.folder import (
    claimed,
    failure,
    job_state,
    record_error,
)

CONFIG = {"name": "x", "seed": 0, "optim": {"lr": 0.1}, "augment": {}, "ckpt_path": None}
NO_CFG = OmegaConf.create({})


def claim(folder: Path, config: dict[str, Any] | None = None, cfg: DictConfig = NO_CFG) -> None:
    with claimed(folder, config or CONFIG, cfg):
        pass


def hold(folder: Path, ready: Any) -> None:
    with claimed(folder, CONFIG, NO_CFG):
        ready.set()
        multiprocessing.Event().wait()


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Another process, in the middle of a run in tmp_path."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_folder_tells_how_far_its_run_is(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    states = [job_state(folder)]
    folder.mkdir()
    states.append(job_state(folder))
    # Each file outweighs those before it: error.txt may be left by an earlier try.
    for file in ("config.yaml", "error.txt", "pruned.json", "metrics.json", "refused.txt"):
        (folder / file).touch()
        states.append(job_state(folder))
    reached = ["waiting", "waiting", "unfinished", "failed", "pruned", "finished", "failed"]
    assert states == reached


def test_a_claimed_folder_holds_its_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with claimed(folder, CONFIG, NO_CFG):
        assert yaml.safe_load((folder / "config.yaml").read_text()) == CONFIG
        assert job_state(folder) == "unfinished"
    # Outside Hydra there are no overrides to record.
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "config.yaml"]


def test_a_folder_that_another_process_writes_to_is_waited_for_and_refused(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("cxr_lightning.runs.folder.LOCK_S", 0.1)
    before = (tmp_path / "config.yaml").stat().st_mtime_ns
    with pytest.raises(ConfigError) as caught:
        claim(tmp_path)
    assert capsys.readouterr().out == f"{tmp_path} is in use; waiting 0.1 s for it …\n"
    assert str(caught.value) == (
        f"Another process is writing to {tmp_path}. Wait for it, or choose another name=…"
    )
    assert (tmp_path / "config.yaml").stat().st_mtime_ns == before
    assert not (tmp_path / "error.txt").exists()


def test_a_folder_is_claimed_as_soon_as_the_process_before_lets_go(
    tmp_path: Path, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is told of the wait is the moment to end it.
    monkeypatch.setattr("builtins.print", lambda *arguments, **options: holder.kill())
    claim(tmp_path)


def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path: Path, holder: Any) -> None:
    holder.kill()
    holder.join()
    assert (tmp_path / ".lock").exists()
    with claimed(tmp_path, CONFIG, NO_CFG):
        assert job_state(tmp_path) == "unfinished"


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_other_ranks_neither_write_nor_wait(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with FileLock(tmp_path / ".lock"):  # held by rank 0
        claim(tmp_path)
        try:
            raise DataError("no images")
        except DataError:
            record_error(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] in ([], [".lock"])


def test_another_configuration_is_refused_and_the_folder_left_as_it_is(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "error.txt").write_text("why the run failed")
    (tmp_path / "curves.csv").touch()  # there is something to lose
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    other = {**CONFIG, "seed": 1, "optim": {"lr": 0.2, "momentum": 0.9}}
    with pytest.raises(ConfigError) as caught:
        claim(tmp_path, other)
    assert str(caught.value) == (
        f"{tmp_path} holds a run with another configuration: seed=0 (now 1), optim.lr=0.1 (now "
        "0.2), optim.momentum=(not set) (now 0.9). Choose another name=…, give the same values to "
        "continue that run, or delete the folder."
    )
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"augment": {"flip": {"p": 0.5}}}, "augment={} (now (not set)), augment.flip.p=(not set)"),
        ({"seed": None}, "seed=0 (now None)"),
        ({f"k{i}": 1 for i in range(6)}, "k4=(not set) (now 1), …. Choose"),  # five at most
    ],
)
def test_every_kind_of_difference_is_seen(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    claim(tmp_path)
    with pytest.raises(ConfigError) as caught:
        claim(tmp_path, {**CONFIG, **changed})
    assert said in str(caught.value)


def test_what_changes_no_number_may_change(tmp_path: Path) -> None:
    data = {"root": "images", "cache_dir": "/a", "num_workers": 0}
    claim(tmp_path, {**CONFIG, "folder": "/here", "data": data})
    moved = {**data, "cache_dir": "/b", "num_workers": 8}
    claim(tmp_path, {**CONFIG, "folder": "/there", "data": moved})
    claim(tmp_path, {**CONFIG, "data": data, "trainer": {"profiler": "simple"}})
    with pytest.raises(ConfigError, match=r"data\.root=images \(now others\)\."):
        claim(tmp_path, {**CONFIG, "folder": "/there", "data": {**moved, "root": "others"}})


def test_a_folder_may_be_moved_with_what_lies_in_it(tmp_path: Path) -> None:
    def kept_in(folder: str, logs: str) -> dict[str, Any]:
        best = {"dirpath": f"{folder}/checkpoints", "filename": "best"}
        return {**CONFIG, "folder": folder, "callbacks": [best], "logger": {"save_dir": logs}}

    claim(tmp_path, kept_in("/then", "/then/logs"))
    claim(tmp_path, kept_in("/now", "/now/logs"))
    # A longer name is another folder, and what lies elsewhere has not moved along.
    with pytest.raises(ConfigError, match=r"save_dir=\$\{folder\}/logs \(now /now-2/logs\)\."):
        claim(tmp_path, kept_in("/now", "/now-2/logs"))
    with pytest.raises(ConfigError, match=r"save_dir=\$\{folder\}/logs \(now /then/logs\)\."):
        claim(tmp_path, kept_in("/now", "/then/logs"))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (("/w/outputs/a", "outputs/a"), ("/w/outputs/b", "outputs/b")),  # renamed
        (("/w/outputs/a", "outputs/a"), ("/else/a", "/else/a")),  # moved, then named in full
        (("/w/outputs/a", "/w/outputs/a"), ("/else/a", "a")),  # from another directory
        (("/home/me/a", "~/a"), ("/w/a", "./a")),
    ],
)
def test_a_folder_may_be_given_in_another_way(
    then: tuple[str, str], now: tuple[str, str], tmp_path: Path
) -> None:
    def kept_in(folder: str, typed: str, model: str = "cnn5") -> dict[str, Any]:
        nodes = {"best": {"dirpath": f"{typed}/checkpoints"}, "model": {"name": model}}
        return {**CONFIG, "folder": folder, "logger": {"save_dir": typed}, **nodes}

    claim(tmp_path, kept_in(*then))
    (tmp_path / "metrics.json").touch()
    claim(tmp_path, kept_in(*now))
    # What has the folder's name is not the folder.
    with pytest.raises(ConfigError, match=r"model\.name=cnn5 \(now b\)\."):
        claim(tmp_path, kept_in(*now, model="b"))
    with pytest.raises(ConfigError, match=r"logger\.save_dir=\$\{folder\} \(now logs\)\."):
        claim(tmp_path, {**kept_in(*now), "logger": {"save_dir": "logs"}})


def test_a_run_that_starts_from_another_checkpoint_is_another_run(tmp_path: Path) -> None:
    claim(tmp_path, {**CONFIG, "ckpt_path": "a.ckpt"})
    with pytest.raises(ConfigError, match=r"ckpt_path=a\.ckpt \(now b\.ckpt\)"):
        claim(tmp_path, {**CONFIG, "ckpt_path": "b.ckpt"})


def test_claiming_a_finished_folder_again_writes_nothing(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "metrics.json").touch()
    before = (tmp_path / "config.yaml").stat().st_mtime_ns
    claim(tmp_path)
    assert (tmp_path / "config.yaml").stat().st_mtime_ns == before


@pytest.mark.parametrize("file", ["metrics.json", "checkpoints/last.ckpt"])
def test_results_of_unknown_configuration_are_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / file).touch()
    with pytest.raises(ConfigError) as caught:
        claim(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds a run whose configuration is not known (no config.yaml). Choose another "
        "name=… or move the folder away."
    )
    assert not (tmp_path / "config.yaml").exists()


def test_a_failure_leaves_its_trace_until_the_run_is_tried_again(tmp_path: Path) -> None:
    def fail() -> None:
        with claimed(tmp_path, CONFIG, NO_CFG):
            raise DataError("No images at /x.")

    with pytest.raises(DataError):
        fail()
    trace = (tmp_path / "error.txt").read_text()
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("cxr_lightning.errors.DataError: No images at /x.\n")
    assert failure(tmp_path) == "No images at /x."
    assert job_state(tmp_path) == "failed"
    with claimed(tmp_path, CONFIG, NO_CFG):
        assert job_state(tmp_path) == "unfinished"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_run_that_was_stopped_has_not_failed(
    end: Callable[[], BaseException], tmp_path: Path
) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)), claimed(tmp_path, CONFIG, NO_CFG):
        raise end()
    assert job_state(tmp_path) == "unfinished"


def test_an_error_before_the_claim_is_recorded_but_not_in_another_runs_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "new").mkdir()
    claim(tmp_path / "taken")
    try:
        raise ConfigError("optim.lr: input should be greater than 0.")
    except ConfigError:
        record_error(tmp_path / "new")
        record_error(tmp_path / "taken")
    assert failure(tmp_path / "new") == "optim.lr: input should be greater than 0."
    assert job_state(tmp_path / "taken") == "unfinished"


TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    x = f(y)\n'
TWO_LINES = "cxr_lightning.errors.ConfigError: optim.lr: too small.\ndata.batch_size: too small.\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TRACE}ValueError: a: b\n", "ValueError: a: b"),
        (f"{TRACE}AssertionError\n", "AssertionError"),
        (
            f"{TRACE}cxr_lightning.errors.DataError: 2 images cannot be read:\n  a.png: empty\n"
            "  b.png: empty\nFix or remove them\n",
            "2 images cannot be read: a.png: empty b.png: empty Fix or remove them",
        ),
        (
            f"{TRACE}KeyError: 'a'\n\nDuring handling of the above exception, another exception "
            f"occurred:\n\n{TRACE}RuntimeError: second\n",
            "RuntimeError: second",
        ),
        ("ProcessError: ended with status -9 (signal 9)", "ProcessError: ended with status -9"),
        ("", ""),  # killed while it was written
        (TRACE + TWO_LINES, "optim.lr: too small. data.batch_size: too small."),
    ],
)
def test_a_failure_is_told_in_one_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert failure(tmp_path).startswith(expected)
    assert "\n" not in failure(tmp_path)


def test_a_run_that_failed_before_it_had_anything_may_be_fixed(tmp_path: Path) -> None:
    claim(tmp_path, {**CONFIG, "seed": 1})
    (tmp_path / "error.txt").write_text("ConfigError: seed: too small\n")
    claim(tmp_path, {**CONFIG, "seed": 2})
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == 2
    (tmp_path / "error.txt").touch()
    (tmp_path / "curves.csv").touch()
    with pytest.raises(ConfigError, match=r"seed=2 \(now 3\)"):
        claim(tmp_path, {**CONFIG, "seed": 3})
