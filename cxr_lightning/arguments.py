"""The command line as people write it, made into what Hydra reads."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cxr_lightning.sweeps.plan import quoted

# Hydra's options that are followed by a value, unless it is joined to them by =.
VALUE_OPTIONS = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c"),
    *("--package", "-p", "--info", "-i", "--experimental-rerun"),
)
PATH_KEYS = (
    *("ckpt_path", "data.cache_dir", "data.manifest", "data.root", "folder", "input"),
    *("model.weights", "name", "output", "run", "sweep"),
)


def tidied(arguments: list[str]) -> list[str]:
    """Options first, and quotes around paths that Hydra's grammar would refuse."""
    return [_quoted_path(word) for word in _options_first(arguments)]


def _options_first(arguments: list[str]) -> list[str]:
    """Hydra refuses `a=1 -m b=2` and `a=1 --config-dir mine b=2`; people write them."""
    options: list[str] = []
    rest = list(arguments)
    while any(word.startswith("-") for word in rest):
        i = next(i for i, word in enumerate(rest) if word.startswith("-"))
        has_value = rest[i] in VALUE_OPTIONS and "=" not in "".join(rest[i + 1 : i + 2])
        options += rest[i : i + 1 + has_value]
        del rest[i : i + 1 + has_value]
    return options + rest


def _quoted_path(word: str) -> str:
    """Hydra refuses `data.root=/films (1)` without a second pair of quotes; people write it."""
    key, _, value = word.partition("=")
    if key in PATH_KEYS and value:
        try:
            OverridesParser.create().parse_override(word)
        except HydraException:
            return f"{key}={quoted(value)}"
    return word
