"""When two names are one: of classes, patients, splits, sources, columns and subfolders."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

import pandas as pd

from cxr_lightning.errors import ConfigError

SPLIT_WORDS = {
    "train": "train training",
    # Not test: where a set has only train/ and eval/, split=official says that test/ is absent.
    "val": "val valid validation validate validating dev devel development eval evaluation",
    "test": "test testing holdout hold-out held-out",
}


def key(name: str) -> str:
    """What names are compared by; every letter and sign counts (C++ is not C, 정상 is not 폐렴).

    Composed (NFC), stripped of blanks at its ends, case-folded; one or several blanks, `-` or `_`
    are one blank.
    """
    folded = unicodedata.normalize("NFC", name).strip().casefold()
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", folded))


_SPLIT_OF = {key(word): split for split, words in SPLIT_WORDS.items() for word in words.split()}


def split_of(name: str) -> str:
    """The split that a folder or a manifest's cell names, or "": `Training_set` is "train"."""
    return _SPLIT_OF.get(re.sub(r" (set|data|images|split)$", "", key(name)), "")


def unify(names: "pd.Series[str]", what: str) -> "tuple[pd.Series[str], list[str]]":
    """Every name in its most frequent spelling, and a sentence if some `what` had several."""
    clean = names.map(lambda name: unicodedata.normalize("NFC", name).strip())
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name, _ in Counter(clean).most_common():
        spellings[key(name)].append(name)
    united = [" = ".join(f"`{name}`" for name in same) for same in spellings.values() if same[1:]]
    notes = [f"Spelled differently, but the same {what}: {some(united, 3, '')}."] if united else []
    return clean.map(lambda name: spellings[key(name)][0]), notes


def listed_classes(classes: dict[str, list[str]] | None) -> dict[str, str]:
    """Key of every listed name and spelling → class. Raises `ConfigError` where two share one."""
    known: dict[str, str] = {}
    for name, others in (classes or {}).items():
        for spelling in (name, *others):
            other = known.setdefault(key(spelling), name)
            if other != name:
                raise ConfigError(
                    f"data.classes: `{spelling}` of {name} is also a spelling of {other}. Capital "
                    "letters, blanks, `-` and `_` make no difference between names."
                )
    return known


def some(names: Iterable[str], most: int = 20, quote: str = "`") -> str:
    """The first names of a list, for a sentence."""
    quoted = [f"{quote}{name}{quote}" for name in names]
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def count(n: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
