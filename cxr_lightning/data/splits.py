"""Which image trains, validates or tests: by the folder, pooled 80:20, or a fold. By patient."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from cxr_lightning.config import SplitConfig
from cxr_lightning.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def assign_splits(table: pd.DataFrame, config: SplitConfig) -> pd.DataFrame:
    """`table` with column `split` set to "train", "val" or "test" for every image.

    `official` tests on the folder's test images and trains on all others; `pooled` tests on
    `test_fraction` of all; `kfold` tests on fold `fold` of `n_folds`. The latter two are
    stratified by class and keep patients whole, so fractions hold to about a patient a class.
    The validation images are `val_fraction` of the training images, drawn the same way.

    Raises:
        ConfigError: the fold does not exist, or a class has fewer patients than folds.
        DataError: no test folder, or patients on both sides (unless `config.leak` is "drop", which
            removes their images from training).
    """
    table = table.copy()
    if config.name == "official":
        is_test = (table["split"] == "test").to_numpy()
        if not is_test.any() or is_test.all():
            found = ", ".join(sorted(set(table["split"]) - {""})) or "none"
            raise DataError(
                "split=official needs a test/ and a train/ folder (or a manifest's split column); "
                f"found: {found}. Choose split=pooled or split=kfold."
            )
    elif config.name == "pooled":
        is_test = _share(table, config.test_fraction, config.seed)
    else:
        if config.fold >= config.n_folds:
            raise ConfigError(
                f"split.fold={config.fold} does not exist: folds are 0 to {config.n_folds - 1}."
            )
        is_test = _folds(table, config.n_folds, config.seed) == config.fold
    table["split"] = np.where(is_test, "test", "train")
    table = _without_leak(table, config.leak)
    if config.val_fraction > 0:
        train = table["split"] == "train"
        is_val = _share(table[train], config.val_fraction, config.seed)
        table.loc[table.index[train][is_val], "split"] = "val"
    return table


def leaking_groups(table: pd.DataFrame) -> list[str]:
    """Patients with images in more than one split."""
    n_splits = table.groupby("group")["split"].nunique()
    return sorted(n_splits.index[n_splits > 1])


def counts(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Images a class (rows) and a split (columns)."""
    cells = table.groupby(["label", "split"]).size().unstack(fill_value=0)
    cells = cells.reindex(index=range(len(classes)), columns=list(SPLITS), fill_value=0)
    return cells.set_axis(list(classes), axis="index")


def _share(table: pd.DataFrame, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each image is held out: one fold of five for 0.2, three of ten for 0.3."""
    share = Fraction(fraction).limit_denominator(max(20, round(1 / fraction)))
    return _folds(table, share.denominator, seed) < share.numerator


def _folds(table: pd.DataFrame, n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold that tests each image."""
    patients = table.groupby("label")["group"].nunique()
    if patients.min() < n_folds:
        raise ConfigError(
            f"A class has only {patients.min()} patients: too few to hold out one in {n_folds}. "
            "Use fewer folds (split.n_folds), or a larger split.test_fraction or "
            "split.val_fraction (0 = no validation images)."
        )
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(table), dtype=np.int64)
    for fold, (_, held_out) in enumerate(folds.split(table, table["label"], table["group"])):
        fold_of[held_out] = fold
    return fold_of


def _without_leak(table: pd.DataFrame, leak: str) -> pd.DataFrame:
    shared = leaking_groups(table)
    if not shared:
        return table
    if leak == "error":
        listed = ", ".join(shared[:50]) + (
            f" and {len(shared) - 50} more" if len(shared) > 50 else ""
        )
        raise DataError(
            f"{len(shared)} patients have images in train and in test: {listed}. A model would be "
            "tested on patients it knows. split.leak=drop leaves their training images out; "
            "split=pooled makes new splits; data.group_pattern says how a path names its patient."
        )
    return table[~(table["group"].isin(shared) & (table["split"] == "train"))].reset_index(
        drop=True
    )
