"""The stages of `growth`, each in a process of its own: what is done, and what only prepares it."""

import ctypes
import gc
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.child import Result
from benchmarks.tiny import CLASSES, GROUP_PATTERN
from cxr_lightning.data.index import Index, index_folders

SIZE_PX = 16
BATCH_SIZE = 32
LabelsAndLogits = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


@contextmanager
def measured() -> Iterator[Result]:
    """Seconds, and how far memory rose above what was resident at the start, in MB.

    Linux forgets the earlier peak when 5 is written to clear_refs; elsewhere memory is 0.
    """
    result: Result = {}
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def memory_mb(name: str) -> float:
        if not clear.exists():
            return 0.0
        lines = status.read_text().splitlines()
        return next(float(line.split()[1]) / 2**10 for line in lines if line.startswith(name))

    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # else the stage would use what its preparation freed
    if clear.exists():
        clear.write_text("5")
    before, start = memory_mb("VmRSS"), time.perf_counter()
    yield result
    result["seconds"] = time.perf_counter() - start
    result["peak_mb"] = max(0.0, memory_mb("VmHWM") - before)


def _index(root: str) -> Index:
    return index_folders(Path(root), group_pattern=GROUP_PATTERN)


def index(root: str, n: int) -> Result:
    """Find the images under a folder."""
    with measured() as result:
        found = _index(root)
    assert len(found.table) == n
    return result


def splits(root: str, n: int) -> Result:
    """Assign test, validation and training by patient."""
    from cxr_lightning.config import SplitConfig
    from cxr_lightning.data.splits import assign_splits

    table = _index(root).table
    config = SplitConfig(name="pooled")
    _ = assign_splits(table[:2000], config)  # imports
    with measured() as result:
        assign_splits(table, config)
    return result


def store(root: str, n: int) -> Result:
    """Decode all images into a new store."""
    return _open_store(root)


def reopen(root: str, n: int) -> Result:
    """Open the store that `store` left."""
    return _open_store(root)


def _open_store(root: str) -> Result:
    from cxr_lightning.data.store import open_store

    found = _index(root)
    paths = list(found.table["path"])
    with measured() as result:
        open_store(Path(os.environ["CXR_LIGHTNING_CACHE"]), found.root, paths, SIZE_PX)
    return result


def epoch(root: str, n: int) -> Result:
    """The order of an epoch's images, and the metrics of its predictions; no image, no network."""
    import torch

    from cxr_lightning.data.sampler import TrainSampler
    from cxr_lightning.models.predictions import EpochPredictions

    labels, logits = _predictions(n)
    sampler, collector = TrainSampler(n, seed=0), EpochPredictions(list(CLASSES))
    loss = torch.tensor(0.5)
    all_labels, all_logits = torch.from_numpy(labels), torch.from_numpy(logits)
    with measured() as result:
        batch: list[int] = []
        for position, _ in sampler:
            batch.append(position)
            if len(batch) == BATCH_SIZE:
                rows = torch.tensor(batch)
                collector.update(all_logits[rows], all_labels[rows], rows, loss)
                batch = []
        collector.compute()
        collector.reset()
    return result


def evaluation(root: str, n: int) -> Result:
    """Every test metric with its interval, 2000 resamples by patient."""
    from cxr_lightning.metrics import estimate

    labels, logits = _predictions(n)
    groups = [f"person{i // 2}" for i in range(n)]
    with measured() as result:
        estimate(labels, _softmax(logits), CLASSES, groups)
    return result


def summary(root: str, n: int) -> Result:
    """Tables and report of a 2×2 sweep, tested on all `n` images."""
    from cxr_lightning.sweeps.report import write_report

    from benchmarks.made_up_sweep import write_sweep

    labels, _ = _predictions(n)
    folder = Path.cwd() / "sweep"
    jobs = [_softmax(_predictions(n, seed)[1]) for seed in range(4)]
    write_sweep(folder, labels, jobs)
    with measured() as result:
        write_report(folder)
    return result


def _predictions(n: int, seed: int = 0) -> LabelsAndLogits:
    """Labels (n,), the same for every seed, and logits (n, C) of a network that is mostly right."""
    labels = np.random.default_rng(0).choice(len(CLASSES), n, p=[0.08, 0.22, 0.6, 0.1])
    logits = np.random.default_rng(seed).normal(0, 1, (n, len(CLASSES))).astype(np.float32)
    logits[np.arange(n), labels] += 2.5
    return labels, logits


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)
