"""A finished 2×2 sweep on disk without any training: as many test images as asked for."""

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from benchmarks.tiny import CLASSES
from cxr_lightning.metrics import Estimate
from cxr_lightning.sweeps.plan import Job, Plan, write_plan

COMMAND = ["cxr-train", "-m", "model=cnn5,resnet18", "augment=none,standard"]
CELLS = tuple(product(("cnn5", "resnet18"), ("none", "standard")))
CONFIG = {"split": {"name": "pooled", "seed": 0}, "data": {"name": "folder", "root": None}}
RECORD = {
    "images": {"train": {"NORMAL": 1}},
    "device": "none",
    "precision": "32-true",
    "processes": 1,
    "versions": {},
    "git_commit": None,
    "parameters": 1,
    "epochs": 1,
    "train_epoch_s": 1.0,
    "seconds": {"fit": 1.0, "test": 1.0},
}


def write_sweep(
    folder: Path, labels: npt.NDArray[np.int64], probabilities: list[npt.NDArray[np.float64]]
) -> None:
    """Leave what four jobs leave; labels (n,), probabilities (n, C) a job."""
    jobs = [Job(f"model-{m}_augment-{a}", {"model": m, "augment": a}) for m, a in CELLS]
    write_plan(folder, Plan(False, COMMAND, [], ["model", "augment"], len(jobs), jobs))
    names = np.array(CLASSES)
    n = len(labels)
    images = pd.DataFrame(
        {
            "path": [f"{i:07d}.png" for i in range(n)],
            "group": [f"person{i // 2}" for i in range(n)],
            "label": names[labels],
        }
    )
    for job, scores in zip(jobs, probabilities, strict=True):
        run = folder / job.name
        run.mkdir()
        accuracy = float((scores.argmax(axis=1) == labels).mean())
        estimate = asdict(Estimate(accuracy, accuracy, accuracy, n, "none"))
        results = {"n": n, "patients": n // 2, "metrics": {"test/accuracy": estimate}}
        (run / "metrics.json").write_text(json.dumps(results))
        (run / "run.json").write_text(json.dumps(RECORD))
        (run / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        called = images.assign(predicted=names[scores.argmax(axis=1)])
        columns = pd.DataFrame(scores, columns=list(CLASSES))
        called.join(columns).to_csv(run / "predictions.csv", index=False)
