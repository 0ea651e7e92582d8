"""Averages of weights, in whole runs: what is validated, saved and tested; statistics; a soup."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from small_runs import (
    ALL_TRAIN,
    CHECKPOINTS_ONLY,
    CLASSES,
    LEARNING,
    SHORT,
    accuracy,
    f1_macro,
    read_json,
    weights,
)

from cxr_lightning import assemble
from cxr_lightning.callbacks.batch_norm import measure_again
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
TestOf = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]


@pytest.mark.parametrize("more", [[], ALL_TRAIN])
def test_of_averaged_weights_those_of_the_average_are_measured(
    more: list[str], run: Run, tmp_path: Path, settings: list[str], composed: Composed
) -> None:
    words = [*SHORT, *more, "callbacks=[default,ema,batch_norm]", "callbacks.ema.decay=0.5"]
    run(tmp_path, *words)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    config = parse(TrainConfig, composed("train", *settings, *SHORT, *more))
    datamodule = assemble.build_datamodule(config)
    classifier = assemble.build_classifier(config, datamodule)
    classifier.load_state_dict(saved["state_dict"])
    measure_again(classifier.network, (batch.image for batch in datamodule.train_dataloader()))
    n_compared = 0
    for name, value in classifier.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, saved["state_dict"][name])
            assert not torch.allclose(value, saved["current_model_state"][name])
            n_compared += 1
    assert n_compared == 6


def test_the_average_is_what_is_validated_saved_and_tested(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    words = [*SHORT, "callbacks=[default,ema]", "callbacks.ema.decay=0.9", "test_checkpoint=last"]
    tested = run(tmp_path / "run", *words)
    file = tmp_path / "run/checkpoints/last.ckpt"
    content = torch.load(file, weights_only=True)
    name = "network.backbone.head.weight"
    assert not torch.allclose(content["state_dict"][name], content["current_model_state"][name])
    again = test_of(file, tmp_path / "again")
    assert again.metrics == tested.metrics
    val = test_of(file, tmp_path / "val", "subset=val")
    curve = pd.read_csv(tmp_path / "run/curves.csv")["val/f1_macro"]
    assert f1_macro(val) == pytest.approx(curve.iloc[-1])


def test_a_soup_is_the_mean_of_the_best_checkpoints(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    words = [*SHORT, "trainer.max_epochs=4", "callbacks=[default,soup]", "test_checkpoint=soup"]
    result = run(tmp_path / "run", *words, *CHECKPOINTS_ONLY, "callbacks.best.save_top_k=3")
    folder = tmp_path / "run/checkpoints"
    kept = [weights(file) for file in folder.glob("best-*.ckpt")]
    assert len(kept) == 3
    name = "network.backbone.head.weight"
    mean = torch.stack([state[name] for state in kept]).mean(dim=0)
    torch.testing.assert_close(weights(folder / "soup.ckpt")[name], mean)
    assert test_of(folder / "soup.ckpt", tmp_path / "again").metrics == result.metrics
    written = read_json(tmp_path / "run/metrics.json")
    assert written["tested"] == {"checkpoint": "soup.ckpt", "epoch": None}
    val = test_of(folder / "soup.ckpt", tmp_path / "val", "subset=val")
    assert written["validation"]["val/f1_macro"] == pytest.approx(f1_macro(val))


@pytest.mark.parametrize("tested", ["best", "last", "soup"])
def test_of_averaged_weights_the_average_is_tested(
    tested: str, run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    callbacks = "callbacks=[default,soup,ema]" if tested == "soup" else "callbacks=[default,ema]"
    words = [*SHORT, "trainer.max_epochs=4", callbacks, "callbacks.ema.decay=0.97"]
    first = run(tmp_path / "run", *words, f"test_checkpoint={tested}")
    name = read_json(tmp_path / "run/metrics.json")["tested"]["checkpoint"]
    files = {"last": "last.ckpt", "soup": "soup.ckpt"}
    file = tmp_path / "run/checkpoints" / files.get(tested, name)
    assert test_of(file, tmp_path / "again").metrics == first.metrics
    # Cut off in its test, the run has the same numbers when it is resumed.
    (tmp_path / "run/metrics.json").unlink()
    assert run(tmp_path / "run", *words, f"test_checkpoint={tested}").metrics == first.metrics


def test_the_average_of_a_short_training_has_forgotten_its_start(run: Run, tmp_path: Path) -> None:
    words = [*CHECKPOINTS_ONLY, *LEARNING, "model=cnn5_bn", "test_checkpoint=last", "seed=1"]
    result = run(tmp_path, *words, "trainer.max_epochs=10", "callbacks=[default,ema]")
    assert accuracy(result) > 0.8  # 90 steps: .998^90 would leave 84% of the first weights


def test_an_epoch_without_validation_measures_the_statistics_too(
    run: Run, tmp_path: Path, settings: list[str], composed: Composed
) -> None:
    """The third epoch is not validated, the fourth is not reached."""
    words = [*SHORT, "trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2"]
    run(tmp_path, *words, "callbacks=[default,batch_norm]", "test_checkpoint=last")
    saved = weights(tmp_path / "checkpoints/last.ckpt")
    config = parse(TrainConfig, composed("train", *settings, *SHORT))
    datamodule = assemble.build_datamodule(config)
    classifier = assemble.build_classifier(config, datamodule)
    classifier.load_state_dict(saved)
    measure_again(classifier.network, (batch.image for batch in datamodule.train_dataloader()))
    state = classifier.state_dict()
    for name in (name for name in state if "running" in name):
        torch.testing.assert_close(state[name], saved[name])


def test_two_processes_have_the_same_average_and_statistics(
    settings: list[str], test_of: TestOf, tmp_path: Path
) -> None:
    words = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "name=ddp"]
    words += [*SHORT, "callbacks=[default,ema,batch_norm]", "augment=[standard,mixup]"]
    words += ["data.train_sizes=[16,32]"]
    done = subprocess.run(
        [sys.executable, "-m", "cxr_lightning.train", *settings, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "ddp"
    # Half of the test images went through the other process's network.
    alone = ["trainer.devices=1", "+trainer.strategy=auto"]
    test_of(folder / "checkpoints" / "best.ckpt", tmp_path / "alone", *alone)
    one, two = (
        pd.read_csv(at / "predictions.csv").sort_values("path")[CLASSES]
        for at in (folder, tmp_path / "alone")
    )
    np.testing.assert_allclose(one, two, atol=1e-5)
