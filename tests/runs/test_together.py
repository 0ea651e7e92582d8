"""After the training: several checkpoints as one, and decisions chosen on validation images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig
from small_runs import (
    ALL_TRAIN,
    SHORT,
    SUM_TEST,
    read_json,
)

from cxr_lightning.errors import ConfigError
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
TestOf = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]


def test_several_checkpoints_are_evaluated_as_one(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    for seed in (0, 1):
        run(tmp_path / f"run{seed}", *SHORT, f"seed={seed}")
    files = [tmp_path / f"run{seed}/checkpoints/best.ckpt" for seed in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    test_of(files[0], tmp_path / "both", f"ckpt_path={listed}")
    columns = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
    one, two, both = (
        pd.read_csv(tmp_path / n / "predictions.csv").sort_values("path", ignore_index=True)[
            columns
        ]
        for n in ("run0", "run1", "both")
    )
    assert len(both) == SUM_TEST
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)


def test_what_one_was_trained_on_another_is_not_tested_on(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    for fold in (0, 1):
        run(tmp_path / f"run{fold}", *SHORT, "split=kfold", f"split.fold={fold}")
    files = [tmp_path / f"run{fold}/checkpoints/best.ckpt" for fold in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    with pytest.raises(ConfigError, match=r"split\.fold is 0 in .*, but 1 in"):
        test_of(files[0], tmp_path / "both", f"ckpt_path={listed}")


def test_tau_and_thresholds_come_from_the_validation_images(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    run(tmp_path / "run", *SHORT)
    file = tmp_path / "run/checkpoints/best.ckpt"
    test_of(file, tmp_path / "plain")
    test_of(file, tmp_path / "shifted", "tau=val", "thresholds=val")
    decision = read_json(tmp_path / "shifted/metrics.json")["decision"]
    assert decision["chosen_on"]["split"] == "val"
    assert 0 <= decision["tau"] <= 3
    columns = list(decision["class_weights"])
    plain, shifted = (
        pd.read_csv(tmp_path / n / "predictions.csv").sort_values("path")[columns].to_numpy()
        for n in ("plain", "shifted")
    )
    weighted = plain * np.array(list(decision["class_weights"].values()))
    np.testing.assert_allclose(
        shifted, weighted / weighted.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5
    )
    run(tmp_path / "all", *SHORT, *ALL_TRAIN)
    with pytest.raises(ConfigError, match="has none"):
        test_of(tmp_path / "all/checkpoints/last.ckpt", tmp_path / "x", "tau=val")


def test_what_is_chosen_on_validation_images_is_not_measured_on_them(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    run(tmp_path / "run", *SHORT)
    file = tmp_path / "run/checkpoints/best.ckpt"
    for subset in ("val", "all"):
        with pytest.raises(ConfigError, match="Leave subset out"):
            test_of(file, tmp_path / subset, "thresholds=val", f"subset={subset}")


def test_members_of_other_folds_do_not_share_validation_images(
    run: Run, test_of: TestOf, tmp_path: Path, images: Path
) -> None:
    for fold in (0, 1):
        run(tmp_path / f"run{fold}", *SHORT, "split=kfold", f"split.fold={fold}")
    files = [tmp_path / f"run{fold}/checkpoints/best.ckpt" for fold in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    other = ["data=folder", f"data.root='{images}'", f"ckpt_path={listed}"]
    test_of(files[0], tmp_path / "both", *other)  # nothing is chosen: any images may be tested
    with pytest.raises(ConfigError, match=r"split\.fold is 0 in"):
        test_of(files[0], tmp_path / "x", *other, "tau=val")


def test_with_the_official_split_the_share_for_validation_makes_no_difference(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    run(tmp_path / "run0", *SHORT)
    run(tmp_path / "run1", *SHORT, *ALL_TRAIN)
    files = [tmp_path / "run0/checkpoints/last.ckpt", tmp_path / "run1/checkpoints/last.ckpt"]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    result = test_of(files[0], tmp_path / "both", f"ckpt_path={listed}")
    assert result.metrics["test/accuracy"].n == SUM_TEST
    # The validation images of the first have trained the second.
    with pytest.raises(ConfigError, match=r"split\.val_fraction is"):
        test_of(files[0], tmp_path / "x", f"ckpt_path={listed}", "tau=val")
