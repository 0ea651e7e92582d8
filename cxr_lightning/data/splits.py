"""Which image trains, validates or tests: by the folder, pooled 80:20, or a fold. By patient."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from cxr_lightning.config import SplitConfig
from cxr_lightning.data.names import count, split_of
from cxr_lightning.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


def assign_splits(
    table: pd.DataFrame, config: SplitConfig, classes: Sequence[str] = ()
) -> pd.DataFrame:
    """`table` with column `split` set to "train", "val" or "test" for every image.

    `official` tests on the folder's test images and trains on all others, if there are any (an
    external set may be a test set only); `pooled` tests on `test_fraction` of all; `kfold` tests
    on fold `fold` of `n_folds`. The latter two are stratified by class and keep patients whole, so
    fractions hold to about one patient per class. The validation images are `val_fraction` of the
    training images, drawn the same way. `classes` are the names behind the labels, for errors.

    Raises:
        ConfigError: the fold does not exist, or a class has fewer patients than folds.
        DataError: no test folder, or patients on both sides (unless `config.leak` is "drop", which
            removes their images from training).
    """
    table = table.copy()
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
        key = f"split.test_fraction={config.test_fraction}"
        is_test = _share(table, config.test_fraction, config.seed, key, classes)
    else:
        if config.fold >= config.n_folds:
            raise ConfigError(
                f"split.fold={config.fold} does not exist: folds are 0 to {config.n_folds - 1}."
            )
        key = f"split.n_folds={config.n_folds}"
        is_test = _folds(table, config.n_folds, config.seed, key, classes) == config.fold
    table["split"] = np.where(is_test, "test", "train")
    table = _without_leak(table, config.leak)
    train = table["split"] == "train"
    if config.val_fraction > 0 and train.any():
        key = f"split.val_fraction={config.val_fraction}"
        is_val = _share(table[train], config.val_fraction, config.seed, key, classes)
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


def _share(
    table: pd.DataFrame, fraction: float, seed: int, key: str, classes: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Whether each image is held out: one fold of five for 0.2, three of ten for 0.3."""
    share = Fraction(fraction).limit_denominator(max(20, round(1 / fraction)))
    return _folds(table, share.denominator, seed, key, classes) < share.numerator


def _folds(
    table: pd.DataFrame, n_folds: int, seed: int, key: str, classes: Sequence[str]
) -> npt.NDArray[np.int64]:
    """The fold that tests each image; `key` is what asks for that many, as a user sets it."""
    patients = table.groupby("label")["group"].nunique()
    few = patients[patients < n_folds]
    if len(few):
        label, least = int(str(few.idxmin())), int(few.min())
        name = classes[label] if classes else f"Class {label}"
        what, advice = "testing", "fewer folds (split.n_folds) or a larger split.test_fraction"
        if "val_fraction" in key:
            what, advice = "validation", "a larger fraction, or 0 for no validation images"
        raise ConfigError(
            f"{name} has only {count(least, 'patient')}: too few to hold out one in {n_folds} for "
            f"{what} ({key}). Use {advice}."
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
