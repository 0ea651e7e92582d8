"""Text inside Markdown stays text: names of classes and files may hold | ` * < and more."""

import re

import pandas as pd

PUNCTUATION = re.compile(r"([\\`*\[\]<>|#~&${}])")
OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # `a_b` is no emphasis, `_a_` is


class Markdown(str):
    """Markdown that is meant as such, and is not escaped again."""

    __slots__ = ()


def escaped(value: object) -> str:
    """A value as one line of text; CommonMark shows each escaped sign as it is."""
    if isinstance(value, Markdown):
        return value
    text = PUNCTUATION.sub(r"\\\1", " ".join(str(value).split()))
    return OUTER_UNDERSCORE.sub(r"\\_", text)


def table(frame: pd.DataFrame) -> Markdown:
    """A table of text; a line break in a cell becomes a semicolon."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    lines = []
    for i, row in enumerate(rows):
        cells = [c if i == 1 else escaped(str(c).replace("\n", "; ")) for c in row]
        lines.append(f"| {' | '.join(cells)} |")
    return Markdown("\n".join(lines))
