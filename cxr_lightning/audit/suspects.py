"""Films to look at: labels that other films contradict, and films that are odd."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab.filter import find_label_issues
from sklearn.model_selection import StratifiedGroupKFold

from cxr_lightning.audit.regression import Regression
from cxr_lightning.data.store import Pixels
from cxr_lightning.metrics import Floats, Ints

Floats32 = npt.NDArray[np.float32]

FOLDS = 5
FLAT, DARK, BRIGHT = 8.0, 10.0, 245.0  # grey levels: spread, and mean
NARROW, COLOURED, TINY = 2.0, 8.0, 100  # aspect, red minus blue (0 to 255), px


def contradicted_labels(
    seen: Sequence[Floats32], labels: Ints, groups: list[str]
) -> pd.DataFrame | None:
    """Films that a model of other patients' films calls something else, with conviction.

    seen: what may be seen of the films, (n, F) each; the one that tells the classes best, by log
    loss and by patient, is used. labels (n,). Each film's probabilities come from a logistic
    regression that has not seen its patient; cleanlab (Northcutt et al., J. Artif. Intell. Res.
    70 (2021) 1373) compares them with the label, class by class. Returns `row, given, suggested,
    probability` (of the given class), the most doubtful first; None where a class has fewer than
    five patients.
    """
    patients = pd.DataFrame({"label": labels, "group": groups}).groupby("label")["group"].nunique()
    if patients.min() < FOLDS:
        return None
    tried = [Regression(x, labels, in_bins=False) for x in seen]
    strengths = [one.best_strength(np.asarray(groups), lambda: None) for one in tried]
    best = min(range(len(tried)), key=lambda i: strengths[i][1])
    regression, (strength, _) = tried[best], strengths[best]
    said = np.zeros((len(labels), len(patients)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, held_out in folds.split(labels, labels, groups):
        said[held_out] = regression.fitted(train, strength).predict_proba(regression.x[held_out])
    present = np.unique(labels)
    rows = find_label_issues(
        np.searchsorted(present, labels),
        said,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,  # its pool of processes would be told to stop as if it were the command
    )
    table = pd.DataFrame({"row": rows, "given": labels[rows]})
    table["suggested"] = present[said[rows].argmax(axis=1)]
    return table.assign(probability=said[rows, np.searchsorted(present, labels[rows])])


def odd_films(table: pd.DataFrame, pixels: Pixels, facts: pd.DataFrame) -> pd.DataFrame:
    """Films that do not look like one: `row, path, why`.

    pixels: those of `table`, in its order; facts: as `data.facts.file_facts` has them, of the same.
    """
    spread, mean = exposures(pixels)
    aspect = facts["width"].clip(lower=1) / facts["height"].clip(lower=1)
    reasons = {
        "nearly one grey level": spread < FLAT,
        "nearly black": mean < DARK,
        "nearly white": mean > BRIGHT,
        "very long or wide": ((aspect > NARROW) | (aspect < 1 / NARROW)).to_numpy(),
        "coloured": (facts["colour"] > COLOURED).to_numpy(),
        f"smaller than {TINY} px": (facts[["width", "height"]].min(axis=1) < TINY).to_numpy(),
    }
    found = [
        {"row": int(row), "path": table["path"].iloc[row], "why": why}
        for why, is_odd in reasons.items()
        for row in np.flatnonzero(is_odd)
    ]
    frame = pd.DataFrame(found, columns=["row", "path", "why"])
    return frame.groupby(["row", "path"])["why"].agg(", ".join).reset_index()


def exposures(pixels: Pixels) -> tuple[Floats, Floats]:
    """Standard deviation and mean of each image's grey levels, (n,) each."""
    both = np.array([(pixels[i].std(), pixels[i].mean()) for i in range(len(pixels))])
    return both[:, 0], both[:, 1]
