"""Whose image it is: what `data.group_pattern` finds in a path, else each image is a patient."""

import re
import unicodedata
from collections import Counter

import pandas as pd

from cxr_lightning.data.names import count
from cxr_lightning.errors import ConfigError

CHILDREN = r"(?:NORMAL2-)?IM-\d+|person\d+_(?:bacteria|virus)"  # the names of Kermany's children
# A pattern that is right about these may find nobody in other films of Kaggle's layout.
KAGGLE = ("IM-0115", "NORMAL2-IM-0383", "person1_virus")


class PatientPattern:
    """A regular expression: its groups, joined, or all that it matches, name the patient."""

    def __init__(self, pattern: str | None) -> None:
        self.pattern = pattern
        try:
            self._expression = re.compile(pattern) if pattern else None
        except re.error as error:
            message = f"data.group_pattern={pattern} is not a regular expression: {error}."
            raise ConfigError(message) from None

    def patient(self, path: str) -> str:
        """The patient that a path names, or ""."""
        match = self._expression and self._expression.search(unicodedata.normalize("NFC", path))
        if not match:
            return ""
        return "/".join(part for part in match.groups() if part) or match[0]

    def check(
        self, paths: "pd.Series[str]", patients: "pd.Series[str]", classes: "pd.Series[str]"
    ) -> list[str]:
        """Sentences about images without a patient; `ConfigError` if the pattern finds nobody."""
        missed = patients == ""
        if self._expression is None or not missed.any():
            return []
        if missed.all() and any(self.patient(f"{name}_1.jpeg") != name for name in KAGGLE):
            raise ConfigError(
                f"data.group_pattern={self.pattern} matches none of {count(len(paths), 'image')}, "
                f"for example {paths.iloc[0]}. In a shell, quote it twice and write each backslash "
                "once: 'data.group_pattern=\"(patient\\d+)\"'. Where file names hold no patient: "
                "data.group_pattern=null."
            )
        n, n_missed = Counter(classes), Counter(classes[missed])
        each = [f"{n_missed[k]} of {count(n[k], 'image')} of {k}" for k in sorted(n_missed)]
        return [
            f"No patient is known for {', '.join(each)}, for example {paths[missed].iloc[0]}: each "
            "of them counts as a patient of its own."
        ]
