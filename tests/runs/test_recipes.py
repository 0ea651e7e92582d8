"""Ways to train, in whole runs: each learns, is resumed exactly, or is refused beforehand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from small_runs import (
    CHECKPOINTS_ONLY,
    LEARNING,
    SHORT,
    accuracy,
    weights,
)

from cxr_lightning import trainers
from cxr_lightning.errors import ConfigError
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
TestOf = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]


class CutOffError(Exception):
    """In place of a pulled plug."""


class CutOff(Callback):
    """Ends the run at the start of its third epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise CutOffError


@pytest.mark.parametrize(
    "options",
    [
        ["callbacks=[default,ema,batch_norm]"],
        ["callbacks=[default,ema]"],
        ["callbacks=[default,batch_norm]"],
        ["augment=[standard,photometric,mixup,cutmix]", "data.train_sizes=[16,32]"],
        ["optim=adamw_cosine", "optim.layer_decay=0.8", "imbalance=ldam_drw"],
    ],
    ids="-".join,
)
def test_a_resumed_run_is_the_same(options: list[str], run: Run, tmp_path: Path) -> None:
    words = [*SHORT, "trainer.max_epochs=3", "test_checkpoint=last", *options]
    run(tmp_path / "whole", *words)
    build = trainers.build_callbacks
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CutOffError):
        patch.setattr(trainers, "build_callbacks", lambda config: [*build(config), CutOff()])
        run(tmp_path / "cut", *words)
    run(tmp_path / "cut", *words)
    whole, resumed = (weights(tmp_path / n / "checkpoints/last.ckpt") for n in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    curves = [(tmp_path / n / "curves.csv").read_text() for n in ("whole", "cut")]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    "words",
    [
        ["augment=[mixup]"],
        ["augment=[cutmix]", "imbalance=focal"],
        ["augment=[mixup]", "imbalance=ldam_drw"],
        ["imbalance=effective_number", "optim=sgd_cosine"],
        ["data.train_sizes=[16,32]", "optim=adamw_cosine", "optim.layer_decay=0.9"],
        ["data.contrast=stretch", "augment=photometric"],
        ["callbacks=[default,ema,batch_norm]", "callbacks.ema.decay=0.9"],
        ["model=resnet18_narrow", "model.network.width=8"],
        ["augment=[affine,zoom]"],
        ["augment=[blur,erasing]"],
        ["augment=[format]"],
        ["callbacks=[default,soup]", "test_checkpoint=soup"],
    ],
    ids="-".join,
)
def test_each_option_learns_the_stripes(words: list[str], run: Run, tmp_path: Path) -> None:
    learning = [*CHECKPOINTS_ONLY, *LEARNING, "model=cnn5_bn", "test_checkpoint=last", "seed=1"]
    result = run(
        tmp_path, *learning, "trainer.max_epochs=10", "callbacks.early_stopping=null", *words
    )
    assert accuracy(result) > 0.8  # always the largest class: 8 of 23


def test_a_loss_that_knows_no_shares_is_refused_with_mixed_images(run: Run, tmp_path: Path) -> None:
    loss = "imbalance.loss._target_=torch.nn.MultiMarginLoss"
    run(tmp_path / "a", *SHORT, loss)
    with pytest.raises(ConfigError, match="shares of the classes"):
        run(tmp_path / "b", *SHORT, loss, "augment=[mixup]")


def test_a_network_of_one_size_is_refused_other_sizes(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot process a batch of shape \(2, 1, 16, 16\)"):
        run(tmp_path, *SHORT, "model=cnn5", "data.train_sizes=[16,32]")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data.train_sizes=[16,24]"], r"data\.train_sizes: .*must be data\.image_size=32"),
        (["data.train_sizes=[48,32]"], r"data\.train_sizes: .*must be data\.image_size=32"),
        (["callbacks=[soup,default]"], "several checkpoints under one name"),
        (["callbacks=soup"], r"callbacks\.best has settings, but"),
        (["test_checkpoint=soup"], "needs several checkpoints"),
        (
            ["callbacks=[default,soup]", "test_checkpoint=soup", "split.val_fraction=0"],
            "needs several checkpoints",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_work_is_refused_before_the_training(
    words: list[str], sentence: str, run: Run, tmp_path: Path
) -> None:
    short = [word for word in SHORT if not word.startswith("callbacks.")]
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path, *short, *words)
    assert not (tmp_path / "checkpoints").exists()
