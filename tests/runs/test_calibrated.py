"""A run's temperature: found on validation, kept in the checkpoint, used by cxr-predict."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from small_runs import ALL_TRAIN, CLASSES, SHORT, read_json

from cxr_lightning import predict
from cxr_lightning.decisions.calibration import calibration_error, fit_temperature, tempered
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]


def predicted(composed: Callable[..., DictConfig], out: Path, *words: str) -> np.ndarray:
    predict.run(composed("predict", f"output='{out}'", f"folder='{out.parent}'", *words))
    return pd.read_csv(out)[CLASSES].to_numpy()


def test_the_temperature_is_that_of_the_validation_images(
    trained: TrainResult, test_of: Run, tmp_path: Path
) -> None:
    best = trained.folder / "checkpoints" / "best.ckpt"
    test_of(best, tmp_path, "subset=val")
    frame = pd.read_csv(tmp_path / "predictions.csv")
    labels = frame["label"].map({k: i for i, k in enumerate(CLASSES)}).to_numpy()
    found = read_json(trained.folder / "calibration.json")
    expected = fit_temperature(labels, frame[CLASSES].to_numpy())
    assert found["temperature"] == pytest.approx(expected, rel=1e-3)
    assert found["fitted_on"] == {"split": "val", "n": len(frame)}
    assert (trained.folder / "calibration.png").exists()
    kept = torch.load(best, weights_only=True)["calibration"]
    assert kept["temperature"] == found["temperature"]


def test_before_and_after_are_of_the_test_images(trained: TrainResult) -> None:
    found = read_json(trained.folder / "calibration.json")
    frame = pd.read_csv(trained.folder / "predictions.csv")
    labels = frame["label"].map({k: i for i, k in enumerate(CLASSES)}).to_numpy()
    p = frame[CLASSES].to_numpy()
    before, after = (found["test"][key]["ece"]["value"] for key in ("before", "after"))
    assert before == pytest.approx(calibration_error(labels, p), abs=1e-6)
    cooled = tempered(p, found["temperature"])
    assert after == pytest.approx(calibration_error(labels, cooled), abs=1e-6)


def test_predictions_are_calibrated_unless_that_is_not_wanted(
    trained: TrainResult, images: Path, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    given = [
        f"ckpt_path='{trained.folder / 'checkpoints' / 'best.ckpt'}'",
        f"input='{images / 'test'}'",
    ]
    plain = predicted(composed, tmp_path / "a" / "p.csv", *given, "calibrate=false")
    cooled = predicted(composed, tmp_path / "b" / "p.csv", *given)
    t = read_json(trained.folder / "calibration.json")["temperature"]
    np.testing.assert_allclose(cooled, tempered(plain, t), atol=1e-6)
    assert not np.allclose(plain, cooled)


def test_without_validation_images_there_is_none_and_that_is_said(
    run: Run,
    images: Path,
    composed: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(tmp_path / "run", *SHORT, *ALL_TRAIN)
    assert "Not calibrated: there are no validation images" in capsys.readouterr().out
    assert not (tmp_path / "run" / "calibration.json").exists()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    predicted(composed, tmp_path / "p.csv", f"ckpt_path='{last}'", f"input='{images / 'test'}'")
    assert "not calibrated" in capsys.readouterr().out


def test_the_last_checkpoint_gets_its_own(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", *SHORT, "test_checkpoint=last")
    kept = [
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for name in ("last", "best")
    ]
    assert "calibration" in kept[0] and "calibration" not in kept[1]
