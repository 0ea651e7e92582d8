"""The names of a sweep and of its jobs, which are folders; and text in Hydra's grammar."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

LONGEST_BYTES = 150  # file systems allow 255, and Hydra's and our own files add to a name


def sweep_name(overrides: Sequence[Override]) -> str:
    """The same name for the same overrides, in any order: `model_augment_seed-1f0c3e`."""
    given = sorted(str(o.input_line) for o in overrides if o.key_or_group != "folder")
    keys = [o.key_or_group.rpartition(".")[2] for o in overrides if o.is_sweep_override()]
    return _short("_".join(keys) or "sweep", "\n".join(given), always=True)


def job_name(values: Mapping[str, str]) -> str:
    """`model-cnn5_augment-none`: a job's values of the swept keys, with a hash where too long.

    There is no `=` in it, so that Hydra reads it back as part of `ckpt_path=…`.
    """
    parts = [re.sub(r"[^\w.+-]+", "-", f"{k}-{v}").strip("-") for k, v in values.items()]
    return _short("_".join(parts) or "run", str(dict(values)))


def quoted(value: Any) -> str:
    """A value as Hydra's grammar reads it back, whatever is in it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        # A backslash is one, but before a quote it takes two.
        return "'" + re.sub(r"(\\*)('|$)", _escaped, value) + "'"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(name: str, unique: str, always: bool = False) -> str:
    too_long = len(name.encode()) > LONGEST_BYTES
    if not (too_long or always):
        return name
    kept = name.encode()[:LONGEST_BYTES].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(unique.encode()).hexdigest()[:6]}"


def _escaped(match: re.Match[str]) -> str:
    backslashes, quote = match.groups()
    return 2 * backslashes + (r"\'" if quote else "")
