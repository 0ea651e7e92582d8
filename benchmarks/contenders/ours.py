"""Ours: `cxr-train` with its defaults, and a callback that reads the clock."""

from pathlib import Path

import hydra

from benchmarks.contenders.case import LEARNING_RATE, Case
from benchmarks.contenders.clock import Clock
from cxr_lightning import train
from cxr_lightning.config import conf_dir


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds."""
    train_ours(
        case.root,
        f"data.image_size={case.image_size}",
        f"data.batch_size={case.batch_size}",
        "split.val_fraction=0",
        f"model={case.model}",
        f"augment={'standard' if case.augment else 'none'}",
        f"optim.lr={LEARNING_RATE}",
        "trainer.max_epochs=1",
        "n_resamples=100",  # of the test that follows the timed epoch
        "+callbacks.clock={_target_: benchmarks.contenders.clock.Clock}",
    )
    return Clock.times["on_train_batch_end"]


def train_ours(root: Path, *overrides: str) -> None:
    """`cxr-train` on the class folders under `root`, in this process."""
    where = ["data=folder", f"data.root='{root}'", f"folder='{Path.cwd() / 'run'}'", "name=run"]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", [*where, *overrides])
    train.run(cfg)
