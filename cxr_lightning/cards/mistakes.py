"""The test images that a run got most wrong, with what there is to see of them."""

from pathlib import Path
from typing import Any

import numpy as np

from cxr_lightning.cards.record import RunFiles
from cxr_lightning.pages.thumbnails import thumbnail
from cxr_lightning.runs.folder import MISTAKES
from cxr_lightning.runs.writing import read_json

SHOWN = 12


def worst_mistakes(run: RunFiles) -> list[dict[str, Any]]:
    """Those whose true class got the lowest probability, at most 12; as `worst_mistakes.png`.

    Of each: path, label, called, probability (of what it was called), of_truth, film and heatmap
    (data URLs, or None). Films that the run did not draw are read from where they were.
    """
    tests = run.predictions
    wrong = tests[tests["label"] != tests["predicted"]]
    rows = np.arange(len(wrong))
    said = wrong[run.classes].to_numpy(dtype=np.float64)
    of_truth = said[rows, _indices(run, list(wrong["label"]))]
    called = said[rows, _indices(run, list(wrong["predicted"]))]
    order = np.argsort(of_truth, kind="stable")[:SHOWN]
    drawn = read_json(run.folder / MISTAKES) if run.has(MISTAKES) else {}
    root, white = run.record.get("images_root"), run.record.get("white")
    found = []
    for i in order:
        path, label, predicted = wrong[["path", "label", "predicted"]].iloc[i]
        pictures = drawn.get(path) or {"film": None, "heatmap": None}
        if pictures["film"] is None and root:
            pictures["film"] = thumbnail(Path(root) / path, white)
        found.append(
            {"path": path, "label": label, "called": predicted, **pictures}
            | {"probability": float(called[i]), "of_truth": float(of_truth[i])}
        )
    return found


def _indices(run: RunFiles, names: list[str]) -> list[int]:
    return [run.classes.index(name) for name in names]
