"""A run of two processes of which one gets a signal: all end, and the same command resumes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPTIONS = [
    *("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data=phantom"),
    *("data.image_size=32", "ladder_minutes=0", "n_resamples=100", "data.num_workers=0"),
    "+trainer.enable_progress_bar=false",
]


def start(home: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cxr_lightning.train", *OPTIONS, *options]
    command += [f"folder={home}/run", f"hydra.run.dir={home}/run"]
    return subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True)


def second_process(head: int) -> int:
    """The process that Lightning started as the second rank."""
    for child in Path(f"/proc/{head}/task/{head}/children").read_text(encoding="utf-8").split():
        if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError("no second process")


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.kills
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc, which is Linux's")
@pytest.mark.parametrize(
    ("number", "to_second", "status", "sentence"),
    [
        (signal.SIGTERM, False, 143, "stopped; everything done so far is kept."),
        (signal.SIGKILL, True, 1, "process 1 of the run ended by signal 9"),
        (signal.SIGTERM, True, 1, "process 1 of the run ended by signal 15"),
    ],
)
def test_signal_to_one_process_ends_all(
    tmp_path: Path, number: int, to_second: bool, status: int, sentence: str
) -> None:
    head = start(tmp_path, "trainer.max_epochs=200", "callbacks.early_stopping=null")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while head.poll() is None and not last.exists():
        time.sleep(0.05)
    second = second_process(head.pid)
    os.kill(second if to_second else head.pid, number)
    try:
        said = head.communicate(timeout=60)[1]
    finally:
        head.kill()
    assert head.returncode == status
    assert sentence in said
    assert "Rerun the same command to resume." in said
    assert "Traceback" not in said
    while is_alive(second):  # else the test does not end
        time.sleep(0.05)
    assert last.exists()
