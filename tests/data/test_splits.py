"""Test sets are those that were asked for, and no patient is on two sides."""

import random
import re

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_lightning.config import SplitConfig
from cxr_lightning.data.splits import assign_splits, counts, leaking_groups
from cxr_lightning.errors import ConfigError, DataError

CLASSES = ("COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS")


def images(*cells: tuple[int, str, int]) -> pd.DataFrame:
    """`n` images, each a patient of its own, for every (label, split, n)."""
    rows = [
        (f"{split}/{label}/{number}.png", label, split)
        for label, split, n in cells
        for number in range(n)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    return table.assign(group=table["path"], source="generated")


def patients(n_patients: int, seed: int) -> pd.DataFrame:
    """Patients of one to five images, the classes as unequal as Kaggle's."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(n_patients):
        label = rng.choice(4, p=[0.1, 0.2, 0.6, 0.1])
        for film in range(rng.integers(1, 6)):
            rows.append((f"{patient}-{film}.png", label, "", f"patient{patient}"))
    table = pd.DataFrame(rows, columns=["path", "label", "split", "group"])
    return table.assign(source="generated")


def n_images(table: pd.DataFrame, split: str, label: int) -> int:
    return int(((table["split"] == split) & (table["label"] == label)).sum())


def paths(table: pd.DataFrame, *splits: str) -> set[str]:
    return set(table["path"][table["split"].isin(splits)])


def test_official_tests_on_the_test_folder_and_folds_val_into_train() -> None:
    table = images((0, "train", 60), (1, "train", 90), (0, "val", 40), (1, "val", 10),
                   (0, "test", 7), (1, "test", 3))  # fmt: skip
    split = assign_splits(table, SplitConfig(name="official", val_fraction=0))
    assert paths(split, "test") == paths(table, "test")
    assert paths(split, "train") == paths(table, "train", "val")
    assert paths(split, "val") == set()


def test_official_validates_on_a_tenth_of_train_and_val_together() -> None:
    table = images((0, "train", 60), (1, "train", 180), (0, "val", 40), (1, "val", 20),
                   (0, "test", 7), (1, "test", 3))  # fmt: skip
    split = assign_splits(table, SplitConfig(name="official", val_fraction=0.1))
    assert paths(split, "test") == paths(table, "test")
    # A tenth of 60 + 40 images and of 180 + 20, to about a patient.
    assert n_images(split, "val", 0) == pytest.approx(10, abs=1)
    assert n_images(split, "val", 1) == pytest.approx(20, abs=1)
    assert n_images(split, "train", 0) + n_images(split, "val", 0) == 100
    # Drawn from both folders: not the old val folder again.
    assert paths(split, "val") & paths(table, "train")


def test_images_outside_the_split_folders_train() -> None:
    table = images((0, "", 30), (1, "train", 30), (0, "test", 5), (1, "test", 5))
    split = assign_splits(table, SplitConfig(name="official", val_fraction=0))
    assert n_images(split, "train", 0) == 30


@pytest.mark.parametrize(("folders", "found"), [(("train", "val"), "train, val"), (("",), "none")])
def test_official_without_a_test_folder_says_what_it_found(
    folders: tuple[str, ...], found: str
) -> None:
    table = images(*[(label, folder, 9) for folder in folders for label in (0, 1)])
    with pytest.raises(DataError, match=f"found: {found}. Choose split=pooled or split=kfold"):
        assign_splits(table, SplitConfig(name="official"))


def test_a_root_that_is_one_split_folder_is_asked_about() -> None:
    table = images((0, "", 9), (1, "", 9)).assign(source="Training")
    with pytest.raises(DataError, match=r"data\.root, `Training`, one folder too deep\?"):
        assign_splits(table, SplitConfig(name="official"))


def test_an_external_set_of_test_images_only_is_a_test_set() -> None:
    table = images((0, "test", 3), (1, "test", 2))  # too few to set any aside for validation
    split = assign_splits(table, SplitConfig(name="official", val_fraction=0.1))
    assert split["split"].tolist() == ["test"] * 5


def test_pooled_is_eighty_to_twenty_in_every_class_whatever_the_folder() -> None:
    table = images((0, "train", 60), (0, "test", 40), (1, "val", 250), (2, "test", 500))
    split = assign_splits(table, SplitConfig(name="pooled", val_fraction=0.1))
    for label, n in ((0, 100), (1, 250), (2, 500)):
        # A fifth of all tests; a tenth of the other four fifths validates.
        assert n_images(split, "test", label) == pytest.approx(n / 5, abs=1)
        assert n_images(split, "val", label) == pytest.approx(n * 4 / 5 / 10, abs=1)
    assert len(split) == 850


@pytest.mark.parametrize("fraction", [0.15, 0.2, 0.3, 0.4, 0.5])
def test_every_fraction_is_kept_not_only_one_in_n(fraction: float) -> None:
    table = images((0, "", 100), (1, "", 300))
    split = assign_splits(
        table, SplitConfig(name="pooled", test_fraction=fraction, val_fraction=fraction)
    )
    for label, n in ((0, 100), (1, 300)):
        test = n_images(split, "test", label)
        # Several folds are held out (three of twenty for 0.15), each within an image of its share.
        assert test == pytest.approx(fraction * n, abs=1)
        assert n_images(split, "val", label) == pytest.approx(fraction * (n - test), abs=2)


def test_a_small_fraction_is_one_fold_of_many() -> None:
    split = assign_splits(
        images((0, "", 40), (1, "", 120)),
        SplitConfig(name="pooled", test_fraction=0.025, val_fraction=0),
    )
    assert [n_images(split, "test", label) for label in (0, 1)] == [1, 3]  # one in 40


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["pooled", "kfold"])
def test_no_patient_is_in_two_splits(name: str, seed: int) -> None:
    table = patients(300, seed)
    split = assign_splits(table, SplitConfig.model_validate({"name": name, "seed": seed}))
    assert leaking_groups(split) == []
    assert set(split["split"]) == {"train", "val", "test"}
    # Neither lost, nor relabelled, nor reordered.
    pd.testing.assert_frame_equal(split.drop(columns="split"), table.drop(columns="split"))
    for label, n in table["label"].value_counts().items():
        # A fifth, to a patient of up to five images.
        assert n_images(split, "test", int(str(label))) == pytest.approx(n / 5, abs=5)


def test_the_validation_slice_of_the_official_split_keeps_patients_whole() -> None:
    table = patients(200, 0)
    table["split"] = np.where(table["group"].str.endswith("7"), "test", "train")
    split = assign_splits(table, SplitConfig(name="official", val_fraction=0.3))
    assert leaking_groups(split) == []
    n_train = (table["split"] == "train").sum()
    assert (split["split"] == "val").sum() == pytest.approx(0.3 * n_train, abs=10)


def test_folds_are_disjoint_and_cover_everything() -> None:
    table = patients(200, 1)
    tested = [
        paths(assign_splits(table, SplitConfig(name="kfold", n_folds=4, fold=fold)), "test")
        for fold in range(4)
    ]
    assert sum(len(fold) for fold in tested) == len(table)
    assert set.union(*tested) == set(table["path"])


def test_a_fold_trains_on_what_it_does_not_test() -> None:
    table = patients(200, 1)
    split = assign_splits(table, SplitConfig(name="kfold", n_folds=4, fold=3, val_fraction=0))
    assert paths(split, "train") == set(table["path"]) - paths(split, "test")


def test_a_fold_that_does_not_exist_is_an_error() -> None:
    message = re.escape("split.fold=5 does not exist: folds are 0 to 4.")
    with pytest.raises(ConfigError, match=message):
        assign_splits(patients(200, 1), SplitConfig(name="kfold", n_folds=5, fold=5))


def leaking(n_shared: int) -> pd.DataFrame:
    """Patients 0 to `n_shared` - 1 have an image in test and two in train, 100 others one."""
    table = images((0, "train", 50), (1, "train", 50), (0, "test", 10), (1, "test", 10))
    shared = [
        (f"{split}/shared{patient}-{film}.png", 0, split, f"shared{patient}")
        for patient in range(n_shared)
        for split, film in (("train", 1), ("val", 2), ("test", 3))
    ]
    extra = pd.DataFrame(shared, columns=["path", "label", "split", "group"])
    extra = extra.astype({"label": "int64"}).assign(source="generated")
    return pd.concat([table, extra], ignore_index=True)


def test_a_patient_in_train_and_test_is_an_error_that_lists_patients() -> None:
    with pytest.raises(DataError) as caught:
        assign_splits(leaking(2), SplitConfig(name="official"))
    message = str(caught.value)
    assert message.startswith("2 patients have images in train and in test: shared0, shared1. ")
    assert "split.leak=drop" in message


def test_a_long_list_of_leaking_patients_is_cut() -> None:
    with pytest.raises(DataError, match="53 patients") as caught:
        assign_splits(leaking(53), SplitConfig(name="official"))
    # Sorted as text, the last three are shared7, shared8, shared9.
    assert ", shared6 and 3 more." in str(caught.value)


def test_leak_drop_removes_only_the_training_images_of_shared_patients() -> None:
    table = leaking(2)
    split = assign_splits(table, SplitConfig(name="official", leak="drop", val_fraction=0))
    assert paths(split, "test") == paths(table, "test")  # 10 + 10 + 2: the test set stays
    dropped = set(table["path"]) - set(split["path"])
    assert dropped == {
        "train/shared0-1.png", "val/shared0-2.png", "train/shared1-1.png", "val/shared1-2.png",
    }  # fmt: skip
    assert split.index.tolist() == list(range(len(table) - 4))


def test_leak_drop_changes_nothing_where_nobody_is_shared() -> None:
    table = leaking(0)
    dropping, not_dropping = (
        assign_splits(table, SplitConfig.model_validate({"name": "official", "leak": leak}))
        for leak in ("drop", "error")
    )
    pd.testing.assert_frame_equal(dropping, not_dropping)


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(name="kfold", n_folds=5),
        SplitConfig(name="pooled", test_fraction=0.2),
        SplitConfig(name="pooled", test_fraction=0.5, val_fraction=0.2),  # 2 of 4 are left
    ],
)
def test_too_few_patients_of_a_class_is_an_error(config: SplitConfig) -> None:
    # Twelve images of class 1, but of four patients.
    table = images((0, "", 50), (1, "", 12))
    table.loc[table["label"] == 1, "group"] = [f"patient{i % 4}" for i in range(12)]
    # Half of the four test in the last case, so two are left to validate on.
    n, key = (2, "split.val_fraction=0.2") if config.test_fraction == 0.5 else (4, "split.")
    message = rf"^sick has only {n} patients: too few to hold out one in 5 \({key}"
    with pytest.raises(ConfigError, match=message):
        assign_splits(table, config, ["healthy", "sick"])


def test_as_many_patients_as_folds_are_enough() -> None:
    table = images((0, "", 50), (1, "", 5))
    split = assign_splits(table, SplitConfig(name="kfold", n_folds=5, val_fraction=0))
    assert n_images(split, "test", 1) == 1


@pytest.mark.parametrize("name", ["pooled", "kfold", "official"])
def test_the_split_depends_on_its_own_seed_alone(name: str) -> None:
    table = patients(200, 2)
    table["split"] = np.where(table["group"].str.endswith("7"), "test", "train")

    def split(seed: int, global_seed: int) -> pd.DataFrame:
        random.seed(global_seed)
        np.random.seed(global_seed)
        torch.manual_seed(global_seed)
        return assign_splits(table, SplitConfig.model_validate({"name": name, "seed": seed}))

    first = split(0, 1)
    pd.testing.assert_frame_equal(split(0, 2), first)
    other = split(1, 1)
    assert paths(other, "val") != paths(first, "val")
    assert (paths(other, "test") == paths(first, "test")) is (name == "official")


def test_the_table_that_was_given_is_not_changed() -> None:
    table = leaking(1)
    before = table.copy()
    assign_splits(table, SplitConfig(name="official", leak="drop"))
    pd.testing.assert_frame_equal(table, before)


def test_counts_are_images_a_class_and_a_split() -> None:
    table = images((0, "train", 3), (2, "train", 1), (2, "test", 2))
    expected = pd.DataFrame(
        [[3, 0, 0], [0, 0, 0], [1, 0, 2], [0, 0, 0]],
        index=list(CLASSES),
        columns=["train", "val", "test"],
    )
    result = counts(table, CLASSES)
    assert result.to_numpy().tolist() == expected.to_numpy().tolist()
    assert list(result.index) == list(CLASSES)
    assert list(result.columns) == ["train", "val", "test"]


def test_leaking_groups_are_sorted_and_only_those_in_two_splits() -> None:
    table = pd.DataFrame(
        {"group": ["b", "b", "a", "a", "c", "c"], "split": ["train", "test"] * 2 + ["val"] * 2}
    )
    assert leaking_groups(table) == ["a", "b"]
