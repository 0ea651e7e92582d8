"""Which findings become sentences, on tables by hand."""

import pandas as pd
import pytest

from cxr_lightning.audit.verdicts import of_files, of_masks, of_patients, of_sources
from cxr_lightning.metrics import Estimate

CLASSES = ["COVID19", "NORMAL"]


def table(counts: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Films by source: how many of each class."""
    rows = [
        {"source": source, "label": label}
        for source, numbers in counts.items()
        for label, n in enumerate(numbers)
        for _ in range(n)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"a": (20, 0), "b": (5, 30)}, "80.0% of the COVID19 films come from a, and"),
        ({"a": (20, 0), "b": (0, 30)}, "Every COVID19 film comes from a, and no other class does."),
        ({"a": (99, 1), "b": (0, 30)}, "Every COVID19 film comes from a, and hardly any other"),
        ({"a": (9, 9), "b": (20, 30)}, None),
        ({"a": (20, 30)}, None),  # one source says nothing
        ({"a": (4, 0), "b": (20, 30)}, None),
    ],
)
def test_a_class_that_its_source_tells(
    counts: dict[str, tuple[int, int]], sentence: str | None
) -> None:
    found = of_sources(table(counts), CLASSES)
    assert [v.sentence.startswith(sentence or "") for v in found] == ([True] if sentence else [])


def test_masks_are_compared_with_the_largest_class() -> None:
    def accuracy(value: float, low: float) -> Estimate:
        return Estimate(value, low, value + 0.05, 100, "bootstrap")

    whole = accuracy(0.9, 0.85)
    assert of_masks({"whole": whole, "border only": accuracy(0.7, 0.55)}, 0.6) == []
    (found,) = of_masks({"whole": whole, "border only": accuracy(0.7, 0.65)}, 0.6)
    assert "still right in 70.0%" in found.sentence and "90.0%" in found.sentence
    assert of_masks({}, 0.6) == []


def test_one_and_many() -> None:
    assert of_patients([]) == []
    assert of_patients(["x"])[0].sentence.startswith("One patient has films")
    assert of_patients(["x", "y"])[0].sentence.startswith("2 patients have films")
    odd = pd.DataFrame({"row": [1], "path": ["a"], "why": ["nearly black"]})
    said = [v.sentence for v in of_files(odd, {"b.png": "truncated"})]
    assert said[0] == "1 file cannot be read: b.png (truncated)."
    assert said[1].startswith("1 film may be")
