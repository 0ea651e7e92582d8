"""Whose image it is: what `data.group_pattern` finds in a path, else each image is a patient."""

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

from cxr_lightning.data.names import count
from cxr_lightning.errors import ConfigError

OWN = "each of them counts as a patient of its own"


class PatientPattern:
    """A regular expression whose groups, joined, name the patient; None finds nobody.

    Args:
        pattern: without a group, all that it matches is the name.
        works_on: names on which it is known to be right. If it matches those but no file here,
            the files are named otherwise and the pattern is no mistake.

    Raises:
        ConfigError: not a regular expression.
    """

    def __init__(self, pattern: str | None, works_on: Sequence[str] = ()) -> None:
        self.pattern, self.works_on = pattern, works_on
        try:
            self._expression = re.compile(pattern) if pattern else None
        except re.error as error:
            raise ConfigError(
                f"data.group_pattern={pattern} is not a regular expression: {error}."
            ) from None

    def patient(self, path: str) -> str:
        """The patient that a path names, or ""."""
        if self._expression is None:
            return ""
        match = self._expression.search(unicodedata.normalize("NFC", path))
        if match is None:
            return ""
        return "/".join(part for part in match.groups() if part) or match[0]

    def check(
        self, paths: "pd.Series[str]", patients: "pd.Series[str]", classes: "pd.Series[str]"
    ) -> list[str]:
        """Sentences about images whose patient (`patients`) is "".

        Raises:
            ConfigError: the pattern matches no file.
        """
        if self._expression is None:
            return []
        missed = patients == ""
        known_right = bool(self.works_on) and all(map(self.patient, self.works_on))
        if missed.all() and not known_right:
            raise ConfigError(
                f"data.group_pattern={self.pattern} matches none of {count(len(paths), 'image')}, "
                f"for example {paths.iloc[0]}. In a shell, quote it twice and write each backslash "
                "once: 'data.group_pattern=\"(patient\\d+)\"'. Where file names hold no patient: "
                "data.group_pattern=null."
            )
        partly, nobody = [], []
        for name in sorted(set(classes[missed])):
            those = classes == name
            n, n_missed = int(those.sum()), int((those & missed).sum())
            images = f"{count(n, 'image')} of {name}"
            if n_missed == n:
                nobody.append(images)
            else:
                example = paths[those & missed].iloc[0]
                partly.append(f"{n_missed} of {images}, for example {example}")
        unknown = partly + ([", ".join(nobody)] if nobody else [])
        return [f"No patient is known for {images}: {OWN}." for images in unknown]
