"""What every command shares: finding `conf/`, and errors as sentences instead of stack traces."""

import difflib
import logging
import os
import re
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
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cxr_lightning.errors import CxrError
from cxr_lightning.runs.folder import ERROR, record_error
from cxr_lightning.sweeps.naming import job_name, run_name
from cxr_lightning.sweeps.plan import refuse

OmegaConf.register_new_resolver("job_name", job_name, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True, use_cache=True)


def conf_dir() -> Path:
    """The folder of YAML files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def run_command(name: str, run: Callable[[DictConfig], Any]) -> None:
    """Compose `conf/<name>.yaml` with the command line and call `run`, in a sweep once a job.

    Exits with status 1 after a sentence on stderr where a user can mend the cause, and after a
    stack trace where only a programmer can; `error.txt` in the run folder has the trace. A failed
    job does not stop its sweep. Ctrl-C and SIGTERM end a run cleanly, with status 130 and 143.
    """
    full_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves its errors to us
    _silence_warnings_about_nothing()
    received = _interrupt_on_signals()

    def job(cfg: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        is_sweep = hydra_config.mode == RunMode.MULTIRUN
        folder = Path(hydra_config.runtime.output_dir)
        try:
            return run(cfg)
        except Exception as error:
            if received:  # what a stop broke is no failure
                (folder / ERROR).unlink(missing_ok=True)
                raise KeyboardInterrupt from error
            users = isinstance(error, CxrError | OmegaConfBaseException)
            if name == "train":
                record_error(folder)
            if users and not is_sweep and not full_trace:
                _say(_sentence(error))
                sys.exit(1)
            if not is_sweep:
                raise
            if (folder / ERROR).exists():
                _say(f"Job {folder.name} failed: {_sentence(error)}\n  (trace: {folder / ERROR})")
            else:
                _say(f"Job {folder.name} failed: {_sentence(error)}")
                if name == "train":
                    refuse(folder.parent, folder.name, _sentence(error))
            return None

    _multirun_flag_first(sys.argv)
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except (CxrError, HydraException, OmegaConfBaseException) as error:
        if full_trace:
            raise
        _say(_sentence(error))
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        if not received:
            raise
        _say("stopped; what is done is kept. The same command with the same name=… goes on.")
        sys.exit(128 + received[0])


def _interrupt_on_signals() -> list[int]:
    """Let SIGTERM do what Ctrl-C does; the list will hold the signal that came."""
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
    ):
        warnings.filterwarnings("ignore", message)


def _multirun_flag_first(argv: list[str]) -> None:
    """Hydra refuses `a=1 -m b=2`; people write it."""
    for flag in ("-m", "--multirun"):
        if flag in argv[1:]:
            argv.remove(flag)
            argv.insert(1, flag)


def _say(text: str) -> None:
    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr, flush=True)


def _sentence(error: BaseException) -> str:
    if isinstance(error, CxrError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"Cannot read `{error.override}`. A value with ~ = ( ) [ ] {{ }} or a comma in it "
            "needs quotes within quotes: 'key=\"value\"'."
        )
    cause = error.__cause__ if not str(error).strip() else None
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    text = " ".join(lines) or type(error).__name__
    if unknown_key := re.match(r"Could not override '([^']+)'", text):
        return _about_unknown_key(unknown_key[1])
    unknown_option = re.search(
        r"Could not find '([^/']+)/([^']+)'.*Available options in '\S+': (.*?)(?: Config|$)", text
    )
    if unknown_option:
        group, wrong, options = unknown_option.groups()
        return f"There is no {group}={wrong}; choose from: {', '.join(options.split())}."
    return text if isinstance(error, HydraException) else f"{type(error).__name__}: {text}"


def _about_unknown_key(key: str) -> str:
    known = _known_keys()
    if files := known.get(key):
        having = ", ".join(
            f"cxr-{f.stem}" if f.parent == conf_dir() else f"{f.parent.name}={f.stem}"
            for f in files
        )
        return f"The key `{key}` exists only with {having}."
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else "."
    return f"Unknown key `{key}`{hint} `--cfg job` prints every key."


def _known_keys() -> dict[str, list[Path]]:
    """Keys with their group before the dot, and the files that have them; groups, with none."""
    keys: dict[str, list[Path]] = {}
    for file in sorted(conf_dir().rglob("*.yaml")):
        group = ".".join(file.parent.relative_to(conf_dir()).parts)
        content = OmegaConf.to_container(OmegaConf.load(file)) or {}
        assert isinstance(content, dict)
        names = [str(key) for key in content if key not in ("defaults", "hydra")]
        for name in names:
            keys.setdefault(f"{group}.{name}" if group else name, []).append(file)
        keys.setdefault(group, [])
    keys.pop("")
    return keys
