"""What a user can cause and fix. Commands print the sentence, not the stack trace."""

import difflib
from collections.abc import Iterable


class CxrError(Exception):
    """Base of all: `str(error)` says what was wrong, where, and what to do."""


class ConfigError(CxrError):
    """A key, value or combination of the configuration cannot work."""


class DataError(CxrError):
    """The images, their folders or their manifest are not as the configuration says."""


class TrainingError(CxrError):
    """The training cannot continue, or its results mean nothing."""


class CheckpointError(CxrError):
    """A checkpoint or a file of pretrained weights is missing or does not fit."""


class LeakError(CxrError):
    """An audit found the same films or patients in several splits."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean `x`?`, or a full stop."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else "."
