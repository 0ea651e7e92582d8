"""What a user sees: sentences instead of stack traces, exit codes, and answers without torch."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.arguments import tidied
from cxr_lightning.cli import run_command
from cxr_lightning.errors import ConfigError, DataError

Run = Callable[[DictConfig], Any]
Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """`command(run, "seed=1", …)`: `cxr-train seed=1 …` doing `run`, in tmp_path; its exit code."""
    hydra_state = Singleton.get_state()
    handlers = logging.root.handlers[:]
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(run: Run, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/cxr-train", *arguments])
        try:
            run_command("train", run)
        except SystemExit as end:
            assert isinstance(end.code, int)
            return end.code
        return 0

    yield call
    Singleton.set_state(hydra_state)
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers


def start(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


# --- in a process of its own ---------------------------------------------------------------------


def test_a_typo_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    done = start("-m", "cxr_lightning.train", "trainer.max_epoch=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "train: Unknown key `trainer.max_epoch`; did you mean `trainer.max_epochs`? "
        "`--cfg job` prints every key.\n"
    )
    assert list(tmp_path.iterdir()) == []  # a typo leaves no folder behind


def test_cfg_job_prints_the_whole_configuration(tmp_path: Path) -> None:
    done = start("-m", "cxr_lightning.train", "--cfg", "job", "model=resnet18", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cfg = OmegaConf.create(done.stdout)
    assert cfg.model.name == "resnet18"
    assert cfg.optim.optimizer._target_ == "torch.optim.Adam"
    assert list(tmp_path.iterdir()) == []


def test_help_and_cfg_answer_without_importing_torch(tmp_path: Path) -> None:
    # Torch and Lightning take seconds to import; TAB completion composes like --cfg does.
    script = """
import importlib, sys
for name, needed in (("train", []), ("evaluate", ["ckpt_path=a"]), ("predict", ["ckpt_path=a"])):
    for arguments in (["--help"], ["--cfg", "job", *needed]):
        sys.argv = [f"cxr-{name}", *arguments]
        try:
            importlib.import_module(f"cxr_lightning.{name}").main()
        except SystemExit as end:
            assert not end.code, (name, arguments, end.code)
heavy = {"torch", "pytorch_lightning", "pandas", "matplotlib"} & set(sys.modules)
print("IMPORTED", sorted(heavy))
"""
    done = start("-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "IMPORTED []"
    for name in ("cxr-train", "cxr-evaluate", "cxr-predict"):
        assert name in done.stdout


def test_tab_completion_answers_without_importing_torch(tmp_path: Path) -> None:
    script = """
import sys, time
from cxr_lightning.train import main
for arguments in ("install=bash", "query=bash"):
    sys.argv = ["/somewhere/bin/cxr-train", "-sc", arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
print("SECONDS", time.process_time(), "torch" in sys.modules)
"""
    typed = {"COMP_LINE": "cxr-train model=resnet1", "COMP_POINT": "23"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | typed,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[-3].endswith("complete -o nospace -o default -F hydra_bash_completion cxr-train")
    assert lines[-2] == "model=resnet101 model=resnet18 model=resnet18_narrow"
    _, seconds, has_torch = lines[-1].split()
    assert has_torch == "False"
    assert float(seconds) < 1  # of the processor, both answers; the machine may be busy


@pytest.mark.parametrize(
    "path",
    [
        "/흉부",
        "/größe/x y",
        "/a (1)/b",
        "/data/[old]/set",
        "it's",
        "~/films",
        "/a=b",
        "/a#b",
        "C:\\x",
    ],
)
def test_a_path_needs_no_second_pair_of_quotes(
    path: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    assert command(lambda cfg: seen.append(cfg.data.root), "data=folder", f"data.root={path}") == 0
    assert seen == [path]


def test_a_folder_that_cannot_be_written_is_a_sentence(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outputs").touch()
    assert command(lambda cfg: None, "name=x") == 1
    error = capfd.readouterr().err
    assert error.startswith("cxr-train: outputs/x: Not a directory. Results go to outputs/")
    assert len(error.splitlines()) == 1


# --- errors --------------------------------------------------------------------------------------


def test_a_users_error_is_its_sentence_and_exit_code_1(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(cfg: DictConfig) -> None:
        raise DataError("No images at /x (data.root): the folder does not exist.")

    assert command(run) == 1
    assert capfd.readouterr().err == (
        "cxr-train: No images at /x (data.root): the folder does not exist.\n"
    )


def test_hydra_full_error_shows_the_stack(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(cfg: DictConfig) -> None:
        raise DataError("No images.")

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(DataError, match=r"No images\."):
        command(run)


def test_a_programmers_error_keeps_its_stack(command: Command) -> None:
    def run(cfg: DictConfig) -> float:
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        command(run)


def test_a_reference_to_nothing_is_a_sentence(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(cfg: DictConfig) -> None:
        OmegaConf.to_container(cfg, resolve=True)

    assert command(run, "optim.lr=${optim.rate}") == 1
    error = capfd.readouterr().err
    assert "Interpolation key 'optim.rate' not found" in error
    assert len(error.splitlines()) == 1


# --- sweeps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a=1", "-m", "b=2"], ["-m", "a=1", "b=2"]),
        (["a=1", "b=2", "--multirun"], ["--multirun", "a=1", "b=2"]),
        (["-m", "a=1"], ["-m", "a=1"]),
        (["a=1", "b=-m"], ["a=1", "b=-m"]),
        (["a=1", "--config-dir", "mine", "b=2"], ["--config-dir", "mine", "a=1", "b=2"]),
        (["a=1", "-cn=own", "-m", "b=2"], ["-cn=own", "-m", "a=1", "b=2"]),
        (["a=1", "--cfg", "job"], ["--cfg", "job", "a=1"]),
        ([], []),
    ],
)
def test_options_may_stand_anywhere(given: list[str], expected: list[str]) -> None:
    assert tidied(given) == expected


def test_a_flag_in_the_middle_sweeps(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(cfg: DictConfig) -> None:
        seen.append((cfg.seed, cfg.model.name))

    command(run, "seed=1,2", "-m")
    monkeypatch.delenv("HYDRA_FULL_ERROR")  # set by the command
    command(run, "seed=3", "-m", "model=cnn5,plain18")
    assert seen == [(1, "cnn5"), (2, "cnn5"), (3, "cnn5"), (3, "plain18")]


def test_a_sweep_whose_jobs_leave_nothing_has_failed(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(lambda cfg: None, "-m", "seed=1,2", "name=nothing") == 1
    assert capfd.readouterr().err == "cxr-train: 2 jobs did not start: seed-1, seed-2\n"


def test_a_swept_preset_keeps_its_jobs_in_the_sweep(command: Command, tmp_path: Path) -> None:
    folders = []
    command(lambda cfg: folders.append((cfg.name, cfg.folder)), "-m", "experiment=report2022,fast")
    (sweep,) = (tmp_path / "outputs").iterdir()
    assert sweep.name.startswith("experiment-")
    jobs = ["experiment-report2022", "experiment-fast"]
    assert folders == [(f"{sweep.name}/{job}", str(sweep / job)) for job in jobs]


def test_a_preset_that_is_not_swept_names_the_sweep(command: Command, tmp_path: Path) -> None:
    command(lambda cfg: None, "-m", "experiment=report2022", "seed=0,1")
    assert [folder.name for folder in (tmp_path / "outputs").iterdir()] == ["report2022"]


def test_a_failed_job_leaves_its_trace_and_the_others_run(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(cfg: DictConfig) -> None:
        if cfg.seed == 1:
            raise ConfigError("One is no good.")
        if cfg.seed == 2:
            raise ZeroDivisionError("a bug")
        seen.append(cfg.seed)

    assert command(run, "-m", "seed=0,1,2,3", "name=grid") == 1
    assert seen == [0, 3]
    sweep = tmp_path / "outputs" / "grid"
    errors = {file.parent.name: file.read_text() for file in sweep.glob("*/error.txt")}
    assert set(errors) == {"seed-1", "seed-2"}
    assert "ConfigError: One is no good." in errors["seed-1"]
    assert "Traceback" in errors["seed-2"]
    assert "ZeroDivisionError: a bug" in errors["seed-2"]
    said = capfd.readouterr().err
    assert "cxr-train: Job seed-1 failed: One is no good." in said
    assert "cxr-train: Job seed-2 failed: ZeroDivisionError: a bug" in said
    assert said.splitlines()[-1] == (
        "cxr-train: 2 jobs failed: seed-1, seed-2; 2 jobs did not start: seed-0, seed-3"
    )


def test_a_cell_that_cannot_be_composed_stops_the_sweep_before_its_first_job(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []
    assert command(lambda cfg: seen.append(cfg.model.name), "-m", "model=cnn5,resnet17") == 1
    assert seen == []
    said = capfd.readouterr().err
    assert "There is no model=resnet17; choose from: cnn5, cnn5_bn, efficientnet_lite0" in said
