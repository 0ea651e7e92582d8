"""What every command shares: composing `conf/`, signals, and exit codes."""

import errno
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cxr_lightning import ranks, startup
from cxr_lightning.arguments import tidied
from cxr_lightning.config import conf_dir
from cxr_lightning.errors import CxrError
from cxr_lightning.runs.folder import ERROR, record_error, refuse
from cxr_lightning.sentences import sentence
from cxr_lightning.sweeps import register_plugins

NOT_WRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EEXIST),
)


def run_command(name: str, run: Callable[[DictConfig], Any]) -> None:
    """Compose `conf/<name>.yaml` with the command line and call `run`; of a sweep, once per job.

    Exits with status 1: after a sentence on stderr where a user can fix the cause, after a stack
    trace where only a programmer can; `error.txt` in the run folder has the trace. A failed
    job does not stop its sweep. Ctrl-C and SIGTERM end a run cleanly, with status 130 and 143.
    """
    full_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves its errors to us
    startup.own_process()
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # for a user's own `_target_: my_code.MyNet`
    _silence_warnings_about_nothing()
    received = _interrupt_on_signals()
    register_plugins()

    def job(cfg: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        try:
            return run(cfg)
        except Exception as error:
            if received:  # it broke because it was stopped, which is no failure
                (folder / ERROR).unlink(missing_ok=True)
                raise KeyboardInterrupt from error
            ranks.let_the_cause_be_said()
            if name == "train":
                record_error(folder)
            if hydra_config.mode != RunMode.MULTIRUN:
                if full_trace or not _is_users(error):
                    raise
                _say(sentence(error))
                sys.exit(1)  # here: else Hydra would print "Error executing job" first
            if (folder / ERROR).exists():
                _say(f"Job {folder.name} failed: {sentence(error)}\n  (trace: {folder / ERROR})")
            else:
                _say(f"Job {folder.name} failed: {sentence(error)}")
                if name == "train":
                    refuse(folder, sentence(error))
            return None

    sys.argv[1:] = tidied(sys.argv[1:])
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        if not received:
            raise
        _say("stopped; everything done so far is kept. Rerun the same command to resume.")
        sys.exit(128 + received[0])
    except Exception as error:
        if full_trace or not _is_users(error):
            raise
        if isinstance(error, BrokenPipeError):  # the reader has gone: `cxr-train --help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            _say(sentence(error))
        sys.exit(1)


def _is_users(error: Exception) -> bool:
    """Whether the person at the command line can fix the cause; else it wants its stack trace."""
    if isinstance(error, CxrError | HydraException | OmegaConfBaseException | BrokenPipeError):
        return True
    return isinstance(error, OSError) and error.errno in NOT_WRITABLE and bool(error.filename)


def _interrupt_on_signals() -> list[int]:
    """Let SIGTERM do what Ctrl-C does; the returned list will hold the signal that came."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
    return received


def _silence_warnings_about_nothing() -> None:
    logging.captureWarnings(True)
    for message in (
        ".*treespec, LeafSpec.* is deprecated",  # Lightning 2.6 on torch 2.14
        ".*is smaller than the logging interval",  # we log by epoch
        ".*does not have many workers",  # a memory-mapped store needs none
        ".*recommended to use `self.log.*sync_dist=True",  # our values are the same on all ranks
        ".*Checkpoint directory .* exists and is not empty",  # true of every resumed run
        ".*(is experimental|is an experimental feature)",  # Optuna 5: heartbeats, and more
        "Heartbeat of storage is supposed to be used",  # `sweeps/search.py` beats by itself
    ):
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", module="pydicom")  # odd values of tags that nobody reads


def _say(text: str) -> None:
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr, flush=True)
