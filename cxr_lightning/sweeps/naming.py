"""The folder of a sweep's job: what is swept, and nothing else."""

import re
import sys
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser


def job_name(task_overrides: Sequence[str]) -> str:
    """`model-cnn5_augment-none` for a job of `-m model=cnn5,resnet18 augment=none,standard`.

    No `=` in it, so that Hydra reads it back as part of `ckpt_path=…`.
    """
    swept = swept_values(task_overrides)
    return "_".join(readable(f"{key}={value}") for key, value in swept.items()) or "run"


def swept_values(task_overrides: Sequence[str]) -> dict[str, str]:
    """A job's own values of the swept keys, in the order of its overrides."""
    swept = set(swept_keys())
    pairs = (override.lstrip("+").partition("=") for override in task_overrides)
    return {key: value for key, _, value in pairs if key in swept}


def swept_keys() -> list[str]:
    """Keys with several values on the command line or in `hydra.sweeper.params`."""
    given = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    params = HydraConfig.get().sweeper.get("params") if HydraConfig.initialized() else None
    given += [f"{key}={value}" for key, value in (params or {}).items()]
    overrides = OverridesParser.create().parse_overrides(given)
    return [o.key_or_group for o in overrides if o.is_sweep_override()]


def readable(override: str) -> str:
    """An override as it stands in a job's name: `optim.lr=0.001` is `optim.lr-0.001`."""
    return re.sub(r"[^\w.+-]+", "-", override.replace("=", "-")).strip("-")
