"""A run whose last checkpoint is damaged resumes from its best one, or says what to delete."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from cxr_lightning.errors import CheckpointError, DataError
from cxr_lightning.runs.folder import _recorded_config
from cxr_lightning.runs.resuming import intact_checkpoint
from cxr_lightning.train import TrainResult


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "garbage": lambda file: file.write_bytes(b"\xff\x00garbage" * 1000),
    "directory": _directory,
}


def _checkpoint(file: Path, epoch: int) -> None:
    file.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": {"w": torch.arange(999)}, "epoch": epoch, "loops": {}}, file)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_best_takes_the_place_of_a_damaged_last_checkpoint(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    last, best = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    _checkpoint(last, 2)
    _checkpoint(best, 1)
    assert intact_checkpoint(tmp_path) == last
    damage(last)
    assert intact_checkpoint(tmp_path) == best
    assert f"{last} is damaged: the epochs after the best one are lost" in capsys.readouterr().out
    damage(best)
    with pytest.raises(CheckpointError, match=f"Delete {last.parent} and rerun"):
        intact_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_configuration_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("seed: 5\noptim: {lr: [0.1, 0.2]}\n")
    assert _recorded_config(file)["seed"] == 5
    damage(file)
    with pytest.raises(DataError, match=f"{file} is damaged"):
        _recorded_config(file)


def test_resumed_from_best_is_the_uncut_run(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    options = (
        "trainer.max_epochs=4",
        "seed=5",
        "optim.lr=0.1",
        "ladder_minutes=0",
        "callbacks.progress=null",
    )
    uncut = run(tmp_path / "uncut", *options)
    cut = tmp_path / "cut"
    shutil.copytree(uncut.folder, cut)
    (cut / "metrics.json").unlink()
    best, last = (cut / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    assert torch.load(best)["epoch"] < torch.load(last)["epoch"]
    (cut / "config.yaml").write_text(
        (cut / "config.yaml").read_text().replace(str(uncut.folder), str(cut))
    )
    last.write_bytes(b"")
    resumed = run(cut, *options)
    assert resumed.metrics == uncut.metrics
    curves = [pd.read_csv(folder / "curves.csv", dtype=str) for folder in (uncut.folder, cut)]
    pd.testing.assert_frame_equal(*curves)
