"""The stages of `growth`, each in a process of its own: what is measured, and what prepares it."""

import ctypes
import gc
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from benchmarks.child import Result, run_program
from benchmarks.tiny import CLASSES, GROUP_PATTERN, SIZE_PX
from cxr_lightning.data.index import index_folders

BATCH_SIZE = 32
SHORT = ["data.image_size=32", "trainer.max_epochs=1", "+trainer.limit_train_batches=4"]
GRID = ["-m", "model=cnn5,resnet18", "augment=none,standard", "data=folder", "split=pooled", *SHORT]


def measured(stage: Callable[[], object]) -> Result:
    """Seconds, and how far memory rose above what was resident at the start, in MB.

    Linux forgets the earlier peak when 5 is written to clear_refs; elsewhere memory is 0.
    """
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def memory_mb(name: str) -> float:
        if not clear.exists():
            return 0.0
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) / 2**10 for line in lines if line.startswith(name))

    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # else the stage would use what its preparation freed
    if clear.exists():
        clear.write_text("5", encoding="utf-8")
    before, start = memory_mb("VmRSS"), time.perf_counter()
    stage()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": max(0.0, memory_mb("VmHWM") - before)}


def index(root: str, n: int) -> Result:
    """Find the images under a folder."""
    return measured(lambda: index_folders(Path(root), group_pattern=GROUP_PATTERN))


def splits(root: str, n: int) -> Result:
    """Assign test, validation and training by patient."""
    from cxr_lightning.config import SplitConfig
    from cxr_lightning.data.splits import assign_splits

    table = index_folders(Path(root), group_pattern=GROUP_PATTERN).table
    config = SplitConfig(name="pooled")
    _ = assign_splits(table[:2000], config)  # imports
    return measured(lambda: assign_splits(table, config))


def store(root: str, n: int = 0, size_px: int = SIZE_PX) -> Result:
    """Decode all images into a new store, or open the one that is there, as a run calls it."""
    from cxr_lightning.data.store import open_store

    found = index_folders(Path(root))
    paths, cache = list(found.table["path"]), Path(os.environ["CXR_LIGHTNING_CACHE"])
    return measured(lambda: open_store(cache, found.root, paths, size_px))


reopen = store  # in the next process, on what the first one left


def epoch(root: str, n: int) -> Result:
    """The order of an epoch's images, and the metrics of its predictions; no image, no network."""
    import torch

    from cxr_lightning.data.sampler import TrainSampler
    from cxr_lightning.models.predictions import EpochPredictions

    labels, logits = (torch.from_numpy(array) for array in _predictions(n))
    sampler, collector = TrainSampler(n, seed=0), EpochPredictions(list(CLASSES))
    loss = torch.tensor(0.5)

    def bookkeeping() -> None:
        order = [position for position, _ in sampler]
        for start in range(0, n, BATCH_SIZE):
            rows = torch.tensor(order[start : start + BATCH_SIZE])
            collector.update(logits[rows], labels[rows], rows, loss)
        collector.compute()
        collector.reset()

    return measured(bookkeeping)


def evaluation(root: str, n: int) -> Result:
    """Every test metric with its interval, 2000 resamples by patient."""
    from cxr_lightning.metrics import estimate

    labels, logits = _predictions(n)
    groups = [f"person{i // 2}" for i in range(n)]
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return measured(lambda: estimate(labels, probabilities, CLASSES, groups))


def summary(root: str, n: int) -> Result:
    """Tables and report of a 2×2 sweep, made up as if it had been tested on `n` images.

    A short sweep, run once and kept in the cache, gives every file but the predictions.
    """
    import hydra

    from cxr_lightning import report
    from cxr_lightning.config import conf_dir

    cache = Path(os.environ["CXR_LIGHTNING_CACHE"])
    trained = cache / "trained"
    if not trained.exists():
        words = [sys.executable, "-m", "cxr_lightning.train", *GRID, f"data.root='{root}'"]
        run_program([*words, "name=sweep"], Path.cwd(), cache)
        (Path.cwd() / "outputs/sweep").rename(trained)
    folder = Path.cwd() / "sweep"
    shutil.copytree(trained, folder)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("report", [f"sweep='{folder}'"])
    report.run(cfg)  # imports
    for seed, file in enumerate(sorted(folder.glob("*/predictions.csv"))):
        labels, logits = _predictions(n, seed)
        names = np.array(CLASSES)
        images = {
            "path": [f"{i:07d}.png" for i in range(n)],
            "group": [f"person{i // 2}" for i in range(n)],
            "label": names[labels],
            "predicted": names[logits.argmax(axis=1)],
        }
        table = pd.DataFrame(images | dict(zip(CLASSES, softmax(logits, axis=1).T, strict=True)))
        table.reindex(columns=pd.read_csv(file, nrows=0).columns).to_csv(file, index=False)
    return measured(lambda: report.run(cfg))


def _predictions(n: int, seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Labels (n,), the same for every seed, and logits (n, C) of a network that is mostly right."""
    labels = np.random.default_rng(0).choice(len(CLASSES), n, p=[0.08, 0.22, 0.6, 0.1])
    logits = np.random.default_rng(seed).normal(0, 1, (n, len(CLASSES))).astype(np.float32)
    logits[np.arange(n), labels] += 2.5
    return labels, logits
