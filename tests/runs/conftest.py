"""A small data set in Kaggle's layout, and runs on it that several files look at."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from small_runs import (
    FOLDERS,
    LEARNING,
    N_TEST,
    N_TRAIN,
    N_VAL,
)

from cxr_lightning import evaluate, train
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
WriteImages = Callable[..., list[str]]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, write_images: WriteImages) -> Path:
    root = tmp_path_factory.mktemp("images")
    for split, numbers in (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST)):
        write_images(root, {f"{split}/{f}": n for f, n in zip(FOLDERS, numbers, strict=True)})
    return root


@pytest.fixture(scope="session")
def settings(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of every run here: which images, and a network small enough for a test."""
    return [
        "data=kaggle",
        f"data.root='{images}'",
        f"data.cache_dir='{tmp_path_factory.mktemp('cache')}'",
        "data.image_size=32",
        "data.num_workers=0",
        "trainer=cpu",
        "trainer.precision=32-true",
        "ladder_minutes=0",
    ]


@pytest.fixture(scope="session")
def run(composed: Composed, settings: list[str]) -> Callable[..., TrainResult]:
    """`run(folder, "model=resnet18", …)`: a training run."""

    def start(folder: Path, *overrides: str) -> TrainResult:
        folder.mkdir(parents=True, exist_ok=True)  # as Hydra would
        quiet = "+trainer.enable_progress_bar=false"
        return train.run(composed("train", *settings, quiet, f"folder='{folder}'", *overrides))

    return start


@pytest.fixture(scope="session")
def test_of(composed: Composed) -> Callable[..., TrainResult]:
    """`test_of(checkpoint, folder, "subset=all", …)`: what cxr-evaluate does."""

    def start(checkpoint: Path, folder: Path, *overrides: str) -> TrainResult:
        folder.mkdir(parents=True, exist_ok=True)
        given = [f"ckpt_path='{checkpoint}'", f"folder='{folder}'", *overrides]
        return evaluate.run(composed("evaluate", *given))

    return start


@pytest.fixture(scope="session")
def trained(
    run: Callable[..., TrainResult], tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    """A run with everything that a run leaves."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    return run(folder, *LEARNING, "callbacks.progress=null", "seed=5")
