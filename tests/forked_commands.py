"""Whole commands in processes of their own, forked from the tests' one: they cost no import."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from cxr_lightning import train


@dataclass(frozen=True)
class Forked:
    """A command that runs, or has ended, and the files with what it prints."""

    process: BaseProcess
    out: Path
    err: Path

    @property
    def stdout(self) -> str:
        return self.out.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self.err.read_text(encoding="utf-8")

    @property
    def status(self) -> int:
        """The exit status, once it has ended; negative for a signal."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def start(home: Path, *words: str, before: Callable[[], object] = lambda: None) -> Forked:
    """`cxr-train …` in `home`; before: called in the new process ahead of the command."""
    number = len(list(home.glob("*.stdout")))
    out, err = home / f"{number}.stdout", home / f"{number}.stderr"

    def command() -> None:
        os.chdir(home)
        os.environ["COLUMNS"] = "160"  # wide, not to fold a cell
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ.pop("HYDRA_FULL_ERROR", None)  # set by a command in the tests' own process
        sys.argv = ["/bin/cxr-train", *words]
        sys.stdout, sys.stderr = out.open("w", buffering=1), err.open("w", buffering=1)
        before()
        train.main()

    out.touch()
    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    return Forked(process, out, err)


def run(home: Path, *words: str, before: Callable[[], object] = lambda: None) -> Forked:
    """The same, when it has ended."""
    forked = start(home, *words, before=before)
    forked.process.join()
    return forked
