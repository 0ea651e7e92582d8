"""Ours: `cxr-train` with its defaults, and a callback that reads the clock."""

import hydra

from benchmarks.training.case import LEARNING_RATE, Case
from benchmarks.training.clock import Clock
from cxr_lightning import train
from cxr_lightning.config import conf_dir


def run(case: Case) -> list[float]:
    """The clock at each batch's end, seconds."""
    overrides = [
        "name=benchmark",
        f"folder='{case.folder / 'run'}'",
        "data=folder",
        f"data.root='{case.root}'",
        f"data.image_size={case.image_size}",
        f"data.batch_size={case.batch_size}",
        "split.val_fraction=0",
        f"model={case.model}",
        f"augment={'standard' if case.augment else 'none'}",
        f"optim.lr={LEARNING_RATE}",
        "trainer.max_epochs=1",
        "n_resamples=100",  # of the test that follows the timed epoch
        "+callbacks.clock={_target_: benchmarks.training.clock.Clock}",
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", overrides)
    train.run(cfg)
    return Clock.latest.ends
