"""Sweeps that are written and not run: the files of their jobs, with predictions as given."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from cxr_lightning.metrics import confusion_matrix, estimate
from cxr_lightning.sweeps.plan import Job, Plan, write_plan

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
LABELS = [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]


def plan(folder: Path, jobs: Sequence[Mapping[str, str]], *fixed: str) -> Plan:
    """Write `sweep.json` for jobs with these values of the swept keys; names as Hydra's job has."""
    swept = list(jobs[0])
    named = [Job("_".join(f"{k}-{v}" for k, v in values.items()), dict(values)) for values in jobs]
    command = ["cxr-train", "-m", *fixed]
    return write_plan(folder, Plan(False, command, list(fixed), swept, len(named), named))


def finish(
    folder: Path,
    called: Sequence[int],
    labels: Sequence[int] = LABELS,
    patients: Sequence[str] | None = None,
    classes: Sequence[str] = CLASSES,
    data: str = "folder",
) -> None:
    """Write what a finished job leaves; image i, of class labels[i], was called called[i].

    The class it was called has probability .7; the others share the rest.
    """
    n, n_classes = len(labels), len(classes)
    probabilities = np.full((n, n_classes), 0.3 / (n_classes - 1))
    probabilities[np.arange(n), called] = 0.7
    groups = list(patients or [f"p{i}" for i in range(n)])
    names = [classes[k] for k in labels]
    table = pd.DataFrame({"path": [f"test/{i:03d}.png" for i in range(n)], "group": groups})
    table = table.assign(label=names, predicted=[classes[k] for k in called])
    folder.mkdir(parents=True, exist_ok=True)
    table.join(pd.DataFrame(probabilities, columns=list(classes))).to_csv(
        folder / "predictions.csv", index=False
    )
    estimates = estimate(labels, probabilities, classes, groups, n_resamples=100)
    results = {
        "n": n,
        "patients": len(set(groups)),
        "metrics": {f"test/{name}": asdict(value) for name, value in estimates.items()},
        "confusion_matrix": confusion_matrix(labels, called, n_classes).tolist(),
    }
    record = {
        "device": "cpu",
        "precision": "32-true",
        "processes": 1,
        "parameters": 12_345,
        "epochs": 2,
        "train_epoch_s": 1.5,
        "seconds": {"fit": 60.0, "test": 3.0},
        "images": {"train": {"NORMAL": 30, "PNEUMONIA": 50}},
        "images_root": str(folder / "no images"),
        "versions": {"torch": "2.14"},
        "git_commit": None,
    }
    config = {"data": {"name": data, "root": None}, "split": {"name": "official", "seed": 0}}
    curves = pd.DataFrame({"epoch": [0, 1], "val/f1_macro": [0.4, 0.5], "train/loss": [1.0, 0.8]})
    curves.to_csv(folder / "curves.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps(results))
