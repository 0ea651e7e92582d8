"""Small generated images in Kaggle's layout, whose class can be learnt; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from small_classifiers import CLASSES, SIZE_PX

from cxr_lightning.config import DataConfig, TrainConfig, conf_dir, parse
from cxr_lightning.models.classifier import Classifier

torch.set_num_threads(1)

STRIPE_ANGLES = {"COVID19": 0, "NORMAL": 45, "PNEUMONIA": 90, "TURBERCULOSIS": 135}


@pytest.fixture(scope="session")
def write_images() -> Callable[..., list[str]]:
    """`write_images(root, {"train/NORMAL": 5, …}, size=32)` → the relative paths, sorted.

    A class is the angle of noisy stripes, at a random phase: learnt by a few convolutions, not by
    an image's mean. Images of one folder and number are the same in every call.
    """

    def write(root: Path, folders: dict[str, int], size: int = 32) -> list[str]:
        y, x = np.mgrid[0:size, 0:size] / size
        paths = []
        for folder, count in folders.items():
            name = Path(folder).name
            angle = np.deg2rad(STRIPE_ANGLES.get(name, 20))
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = np.random.default_rng([*folder.encode(), number])
                wave = np.sin(
                    8 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 2 * np.pi)
                )
                grey = np.clip(128 + 70 * wave + rng.normal(0, 20, (size, size)), 0, 255)
                path = f"{folder}/{name}({number:03d}).png"
                Image.fromarray(grey.astype(np.uint8)).save(root / path, compress_level=1)
                paths.append(path)
        return sorted(paths)

    return write


@pytest.fixture
def kaggle_config(tmp_path: Path) -> Callable[..., DataConfig]:
    """`kaggle_config(root, batch_size=4, …)`: conf/data/kaggle.yaml, small, cached in tmp_path."""

    def config(root: Path | None, **changes: Any) -> DataConfig:
        folder = OmegaConf.load(conf_dir() / "data/folder.yaml")
        kaggle = OmegaConf.load(conf_dir() / "data/kaggle.yaml")
        small = {"root": root, "cache_dir": tmp_path / "cache", "image_size": 32, "num_workers": 0}
        merged = OmegaConf.to_container(OmegaConf.merge(folder, kaggle), resolve=True)
        assert isinstance(merged, dict)
        merged.pop("defaults")  # Hydra's, done by the merge above
        return parse(DataConfig, {**merged, **small, **changes})

    return config


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """`composed("train", "model=resnet18", …)`: what Hydra makes of conf/train.yaml."""

    def compose(command: str, *overrides: str) -> DictConfig:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            # Hydra fills these in when it runs a command; here nothing runs.
            return hydra.compose(command, ["name=test", "folder=/none", *overrides])

    return compose


@pytest.fixture
def classifier(composed: Callable[..., DictConfig]) -> Callable[..., Classifier]:
    """`classifier("optim=adamw_onecycle", …)`: a cnn5 for 16 px and three classes."""

    def build(*overrides: str, seed: int = 0) -> Classifier:
        config = parse(TrainConfig, composed("train", *overrides))
        torch.manual_seed(seed)
        return Classifier(
            network={"node": config.model.network, "image_size": SIZE_PX, "channels": 1},
            classes=CLASSES,
            class_counts=[3, 5, 3],
            imbalance=config.imbalance.model_dump(),
            optim=config.optim.model_dump(),
            run=config.model_dump(mode="json"),
        )

    return build
