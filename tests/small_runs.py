"""What the tests of whole runs share: the images' numbers, overrides, and reading results."""

import json
from pathlib import Path
from typing import Any

import torch

from cxr_lightning.train import TrainResult

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
FOLDERS = ["COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS"]  # as Kaggle spells the last one
N_TRAIN, N_VAL, N_TEST = [24, 30, 40, 20], [2, 2, 2, 2], [5, 6, 8, 4]
SUM_TEST = 23  # odd, so that two processes do not get equal shares
LEARNING = ["trainer.max_epochs=8", "optim.lr=0.003", "data.batch_size=8", "split.val_fraction=0.2"]
NO_LADDER = "ladder_minutes=0"
BARE = ["callbacks=none", "logger=none", NO_LADDER]
CHECKPOINTS_ONLY = [
    NO_LADDER,
    "logger=none",
    "callbacks.progress=null",
    "callbacks.augmentation=null",
    "callbacks.confusion_matrix=null",
    "callbacks.learning_rate=null",
]
SHORT = [*CHECKPOINTS_ONLY, *LEARNING, "trainer.max_epochs=2", "model=cnn5_bn", "seed=3"]
ALL_TRAIN = ["split.val_fraction=0", "test_checkpoint=last"]


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def accuracy(result: TrainResult) -> float:
    value = result.metrics["test/accuracy"].value
    assert value is not None
    return value


def f1_macro(result: TrainResult) -> float:
    value = result.metrics["test/f1_macro"].value
    assert value is not None
    return value
