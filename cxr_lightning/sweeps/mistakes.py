"""The test images that most runs of a sweep get wrong, as thumbnails."""

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_lightning.pages.thumbnails import thumbnail
from cxr_lightning.sweeps.cells import Cell

SHOWN = 24


def common_mistakes(cells: Sequence[Cell]) -> list[dict[Hashable, Any]]:
    """Images that at least half of the runs that tested them get wrong; at most 24.

    Of each: path, label, what wrong runs called it and how many did, how many are wrong, how many
    runs there are, and a thumbnail (data URL) if the image was found.

    The highest share of wrong runs comes first; among equals, the image whose true class is given
    the lowest mean probability. Runs whose images came from different folders are not mixed.
    """
    frames, white = [], {}
    for seed in (seed for cell in cells for seed in cell.seeds):
        record, classes = seed.runs[0].record, np.array(seed.runs[0].classes)
        root = record.get("images_root") or ""
        white[root] = record.get("white")
        truth = seed.probabilities[np.arange(len(seed.labels)), seed.labels]
        frames.append(seed.tests.assign(root=root, called=classes[seed.predicted], truth=truth))
    tests = pd.concat(frames)
    tests["wrong"] = tests["called"] != tests["label"]
    images = tests.groupby(["root", "path", "label"], sort=False)[["called", "wrong", "truth"]].agg(
        {"called": list, "wrong": ["sum", "size", "mean"], "truth": "mean"}
    )
    images.columns = pd.Index(["called", "wrong", "runs", "share", "truth"])
    images["truth"] = images["truth"].round(12)  # equals stay in the order of the sweep
    worst = images[images["share"] >= 0.5].sort_values(["share", "truth"], ascending=[False, True])
    mistakes = worst.head(SHOWN).reset_index().to_dict("records")
    for image in mistakes:
        called = Counter(name for name in image["called"] if name != image["label"])
        image["called"] = dict(called.most_common())
        file = Path(image["root"]) / image["path"]
        image["thumbnail"] = thumbnail(file, white[image["root"]]) if image["root"] else None
    return mistakes
