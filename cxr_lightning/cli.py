"""What every command shares: finding `conf/`, and errors as sentences instead of stack traces."""

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cxr_lightning.errors import CxrError
from cxr_lightning.sweeps.naming import job_name

OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def conf_dir() -> Path:
    """The folder of YAML files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def run_command(name: str, run: Callable[[DictConfig], Any]) -> None:
    """Compose `conf/<name>.yaml` with the command line and call `run` once, or once a job of a sweep.

    Exits with status 1 after a sentence on stderr where a user can mend the cause, and after a
    stack trace where only a programmer can. A failed job does not stop its sweep: the trace is in
    `error.txt` in its folder.
    """
    full_trace = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves its errors to us
    logging.captureWarnings(True)
    failed: list[str] = []

    def job(cfg: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        if hydra_config.mode != RunMode.MULTIRUN:
            return run(cfg)
        try:
            return run(cfg)
        except Exception as error:
            folder = Path(hydra_config.runtime.output_dir)
            (folder / "error.txt").write_text(traceback.format_exc())
            failed.append(folder.name)
            _say(f"Job {folder.name} failed: {_sentence(error)}\n  (trace: {folder / 'error.txt'})")
            return None

    _multirun_flag_first(sys.argv)
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except (CxrError, HydraException, OmegaConfBaseException) as error:
        if full_trace:
            raise
        _say(_sentence(error))
        sys.exit(1)
    if failed:
        _say(f"{len(failed)} jobs failed: {', '.join(failed)}")
        sys.exit(1)


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
    cause = error.__cause__ if not str(error).strip() else None
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    text = " ".join(lines) or type(error).__name__
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown[1]
        close = difflib.get_close_matches(key, _known_keys(), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else "."
        return f"Unknown key `{key}`{hint} `--cfg job` prints every key."
    options = re.search(r"Could not find '([^/']+)/([^']+)'.*Available options in '\S+': (.*?)(?: Config|$)", text)
    if options:
        group, wrong, known = options.groups()
        return f"There is no {group}={wrong}; choose from: {', '.join(known.split())}."
    return f"{type(error).__name__}: {text}" if not isinstance(error, HydraException) else text


def _known_keys() -> list[str]:
    """Groups and, of their first options, keys with dots."""
    keys = []
    for file in sorted(conf_dir().rglob("*.yaml")):
        group = file.parent.relative_to(conf_dir()).as_posix().replace(".", "")
        content = OmegaConf.load(file)
        keys += [f"{group}.{key}" if group else str(key) for key in content] + [group]
    return sorted({key for key in keys if key and "hydra" not in key and "defaults" not in key})
