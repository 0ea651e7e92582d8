"""Names that follow from the command line: of a sweep, and of its jobs' folders."""

import hashlib
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

# Hydra's options that are followed by a value, unless it is joined to them by =.
CONFIG_OPTIONS = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp")
VALUE_OPTIONS = (*CONFIG_OPTIONS, "--package", "-p", "--info", "-i", "--experimental-rerun")


def run_name() -> str:
    """The default `name`: of a sweep, always the same for the same command; of a run, the time.

    `model_augment_seed-1f0c3e`: what is swept, and a hash of everything given, in any order.
    """
    if not {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv):
        return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    given = "\n".join(sorted(words_about_runs(sys.argv)))
    keys = "_".join(key.rpartition(".")[2] for key in swept_keys()) or "sweep"
    return f"{keys}-{hashlib.sha256(given.encode()).hexdigest()[:6]}"


def job_name(task_overrides: Sequence[str]) -> str:
    """`model-cnn5_augment-none` for a job of `-m model=cnn5,resnet18 augment=none,standard`.

    No `=` in it, so that Hydra reads it back as part of `ckpt_path=…`.
    """
    return folder_name(values_of(task_overrides, swept_keys()))


def folder_name(values: Mapping[str, str]) -> str:
    """A job's name from its values of the swept keys."""
    return "_".join(readable(f"{key}={value}") for key, value in values.items()) or "run"


def values_of(task_overrides: Sequence[str], swept: Collection[str]) -> dict[str, str]:
    """A job's own values of the swept keys, in the order of its overrides."""
    pairs = (override.lstrip("+").partition("=") for override in task_overrides)
    return {key: value for key, _, value in pairs if key in swept}


def swept_keys() -> list[str]:
    """Keys with several values on the command line or in `hydra.sweeper.params`."""
    given = [word for word in words_about_runs(sys.argv) if "=" in word]
    params = HydraConfig.get().sweeper.get("params") if HydraConfig.initialized() else None
    given += [f"{key}={value}" for key, value in (params or {}).items()]
    overrides = OverridesParser.create().parse_overrides(given)
    return [o.key_or_group for o in overrides if o.is_sweep_override()]


def words_about_runs(command: Sequence[str]) -> list[str]:
    """What a command line says about the runs, without how and where they are run."""
    return [
        word
        for before, word in pairwise(command)
        if not word.startswith(("-", "hydra.", "hydra/", "name=")) and before not in VALUE_OPTIONS
    ]


def readable(override: str) -> str:
    """An override as it stands in a job's name: `optim.lr=0.001` is `optim.lr-0.001`."""
    return re.sub(r"[^\w.+-]+", "-", override.replace("=", "-")).strip("-")


def quoted(text: str) -> str:
    """Text as Hydra's grammar reads it back, whatever is in it."""
    # A backslash is one but before a quote, where it takes two.
    return "'" + re.sub(r"(\\*)('|$)", _escaped, text) + "'"


def _escaped(match: re.Match[str]) -> str:
    backslashes, quote = match.groups()
    return 2 * backslashes + (r"\'" if quote else "")
