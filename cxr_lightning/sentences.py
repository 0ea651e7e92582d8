"""An error as a sentence for the person who typed the command."""

import re
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf

from cxr_lightning.config import conf_dir
from cxr_lightning.errors import CxrError, did_you_mean


def sentence(error: BaseException) -> str:
    """What was wrong, where, and what to do, as far as the error tells."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    for cause in chain:  # Hydra wraps errors of a sweeper or launcher in its own
        if isinstance(cause, CxrError):
            return str(cause)
    if isinstance(error, OverrideParseException):
        return _about_override(str(error.override))
    if isinstance(error, OSError) and not isinstance(error, HydraException) and error.filename:
        return (
            f"{error.filename}: {error.strerror}. Results go to outputs/ in the working directory, "
            "and decoded images to data.cache_dir: choose others (folder=…, data.cache_dir=…), or "
            "make them writable."
        )
    said = next((str(one) for one in chain if str(one).strip()), "")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
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


def _about_override(override: str) -> str:
    if override.isascii():
        advice = (
            "A value with ~ = ( ) [ ] { } or a comma in it needs quotes within quotes: "
            "'key=\"value\"'."
        )
    else:
        advice = (
            "Hydra takes letters other than a-z only within quotes, 'key=\"값\"', and never in a "
            "key: write those into a YAML file of your own (--config-dir)."
        )
    return f"Cannot read `{override}`. {advice}"


def _about_unknown_key(key: str) -> str:
    known = _known_keys()
    if files := known.get(key):
        having = ", ".join(
            f"cxr-{f.stem}" if f.parent == conf_dir() else f"{f.parent.name}={f.stem}"
            for f in files
        )
        return f"The key `{key}` exists only with {having}."
    return f"Unknown key `{key}`{did_you_mean(key, known)} `--cfg job` prints every key."


def _known_keys() -> dict[str, list[Path]]:
    """Keys (their group before the dot) and the files that have them; groups have no files."""
    keys: dict[str, list[Path]] = {}
    for file in sorted(conf_dir().rglob("*.yaml")):
        group = ".".join(file.parent.relative_to(conf_dir()).parts)
        content = OmegaConf.to_container(OmegaConf.load(file)) or {}
        assert isinstance(content, dict)
        keys.setdefault(group, [])
        for name in _names(content, group):
            keys.setdefault(name, []).append(file)
    keys.pop("")
    return keys


def _names(content: dict[Any, Any], above: str) -> list[str]:
    """Every key below `above`, however deep, without Hydra's own."""
    names = []
    for key, value in content.items():
        if key not in ("defaults", "hydra", "_target_"):
            names.append(f"{above}.{key}" if above else str(key))
            names += _names(value, names[-1]) if isinstance(value, dict) else []
    return names
