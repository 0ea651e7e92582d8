"""The names of a sweep and of its jobs, which are folders; and text in Hydra's grammar."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString

LONGEST_BYTES = 150  # file systems allow 255, and Hydra's and our own files add to a name


def sweep_name(overrides: Sequence[Override]) -> str:
    """The same name for the same overrides, in any order: `model_augment_seed-1f0c3e`."""
    given = sorted(str(o.input_line) for o in overrides if o.key_or_group != "folder")
    keys = [o.key_or_group.rpartition(".")[2] for o in overrides if o.is_sweep_override()]
    return _hashed("_".join(keys) or "sweep", "\n".join(given))


def job_name(values: Mapping[str, str]) -> str:
    """`model-cnn5_augment-none`: a job's values of the swept keys, with a hash where too long.

    There is no `=` in it, so that Hydra reads it back as part of `ckpt_path=…`.
    """
    parts = [re.sub(r"[^\w.+-]+", "-", f"{k}-{v}").strip("-") for k, v in values.items()]
    name = "_".join(parts) or "run"
    return name if len(name.encode()) <= LONGEST_BYTES else _hashed(name, str(dict(values)))


def quoted(value: Any) -> str:
    """A value as Hydra's grammar reads it back, whatever is in it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return json.dumps(value)


def _hashed(name: str, unique: str) -> str:
    kept = name.encode()[:LONGEST_BYTES].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(unique.encode()).hexdigest()[:6]}"
