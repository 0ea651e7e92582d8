"""Which image trains, validates or tests: by the folder, pooled 80:20, or a fold. By patient."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from cxr_lightning.config import SplitConfig
from cxr_lightning.data.names import count, some, split_of
from cxr_lightning.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def assign_splits(
    table: pd.DataFrame, config: SplitConfig, classes: Sequence[str] = ()
) -> pd.DataFrame:
    """`table` with column `split` set to "train", "val" or "test" for every image.

    `official` tests on the folder's test images and trains on all others, if there are any;
    `pooled` and `kfold` are stratified by class and keep patients whole, so fractions hold to about
    one patient per class. So are the validation images drawn from the training images. `classes`
    are the names behind the labels, for errors. Raises `ConfigError` where there is no such fold,
    or a class has too few patients; `DataError` where there is no test folder, or patients are on
    both sides (unless `config.leak` is "drop", which removes their images from training).
    """
    table = table.copy()

    def share(rows: pd.DataFrame, key: str) -> npt.NDArray[np.bool_]:
        """Whether each is held out: one fold of five for 0.2, three of ten for 0.3."""
        fraction = getattr(config, key)
        part = Fraction(fraction).limit_denominator(max(20, round(1 / fraction)))
        folds = _folds(rows, part.denominator, config.seed, f"split.{key}={fraction}", classes)
        return folds < part.numerator

    if config.name == "official":
        is_test = (table["split"] == "test").to_numpy()
        if not is_test.any():
            found = ", ".join(sorted(set(table["split"]) - {""})) or "none"
            inside = sorted(name for name in set(table["source"]) if split_of(name))
            raise DataError(
                "split=official needs a test/ folder (or a manifest's split column); "
                f"found: {found}. Choose split=pooled or split=kfold (cxr-evaluate: or subset=all)."
                + (f" Or is data.root, `{inside[0]}`, one folder too deep?" if inside else "")
            )
    elif config.name == "pooled":
        is_test = share(table, "test_fraction")
    elif config.fold < config.n_folds:
        key = f"split.n_folds={config.n_folds}"
        is_test = _folds(table, config.n_folds, config.seed, key, classes) == config.fold
    else:
        last = config.n_folds - 1
        raise ConfigError(f"split.fold={config.fold} does not exist: folds are 0 to {last}.")
    table["split"] = np.where(is_test, "test", "train")
    shared = leaking_groups(table)
    if shared and config.leak == "error":
        raise DataError(
            f"{len(shared)} patients have images in train and in test: {some(shared, 50, '')}. A "
            "model would be tested on patients it knows. split.leak=drop leaves their training "
            "images out; split=pooled makes new splits; data.group_pattern says how a path names "
            "its patient."
        )
    table = table[is_test | ~table["group"].isin(shared)].reset_index(drop=True)
    train = table["split"] == "train"
    if config.val_fraction > 0 and train.any():
        is_val = share(table[train], "val_fraction")
        table.loc[table.index[train][is_val], "split"] = "val"
    return table


def leaking_groups(table: pd.DataFrame) -> list[str]:
    """Patients with images in more than one split."""
    n_splits = table.groupby("group")["split"].nunique()
    return sorted(n_splits.index[n_splits > 1])


def counts(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Images per class (rows) and split (columns)."""
    cells = table.groupby(["label", "split"]).size().unstack(fill_value=0)
    cells = cells.reindex(index=range(len(classes)), columns=list(SPLITS), fill_value=0)
    return cells.set_axis(list(classes), axis="index")


def _folds(
    table: pd.DataFrame, n_folds: int, seed: int, key: str, classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """The fold that tests each image; `key` is what asks for that many, as a user sets it."""
    patients = table.groupby("label")["group"].nunique()
    if patients.min() < n_folds:
        label, least = int(str(patients.idxmin())), int(patients.min())
        name = classes[label] if classes else f"Class {label}"
        advice = "fewer folds (split.n_folds) or a larger fraction; split.val_fraction may be 0"
        raise ConfigError(
            f"{name} has only {count(least, 'patient')}: too few to hold out one in {n_folds} "
            f"({key}). Use {advice}."
        )
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(table), dtype=np.int64)
    for fold, (_, held_out) in enumerate(folds.split(table, table["label"], table["group"])):
        fold_of[held_out] = fold
    return fold_of
