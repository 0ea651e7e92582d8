"""Sweeps that are written and not run: the files of their jobs, with predictions as given."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from cxr_lightning.metrics import confusion_matrix, estimate
from cxr_lightning.runs.writing import write_csv, write_json, write_text
from cxr_lightning.sweeps.cells import Cell, Run, Seed, cell_name
from cxr_lightning.sweeps.plan import Job, Plan, write_plan

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
LABELS = [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]


def plan(folder: Path, jobs: Sequence[Mapping[str, str]], *fixed: str) -> Plan:
    """Write `sweep.json` for jobs with these values of the swept keys; names as Hydra's job has."""
    swept = list(jobs[0])
    named = [Job("_".join(f"{k}-{v}" for k, v in values.items()), dict(values)) for values in jobs]
    command = " ".join(["cxr-train", "-m", *fixed])
    return write_plan(folder, Plan(False, command, list(fixed), swept, len(named), named))


def cell(
    values: Mapping[str, str],
    probabilities: NDArray[np.float64],
    labels: Sequence[int],
    classes: Sequence[str] = CLASSES,
    patients: Sequence[str] | None = None,
    root: str = "",
) -> Cell:
    """A cell that was never on disk: probabilities (S, n, C) of images 0.png, 1.png, …"""
    paths = [f"{i}.png" for i in range(len(labels))]
    names = [classes[k] for k in labels]
    tests = pd.DataFrame({"path": paths, "group": patients or paths, "label": names, "part": ""})
    metrics = {f"test/recall/{name}": None for name in classes}
    run = Run(Job("job", dict(values)), Path(), {"metrics": metrics}, {"images_root": root})
    seeds = [Seed([run], tests, np.array(labels), p) for p in probabilities]
    return Cell(cell_name(dict(values)), dict(values), len(seeds), len(seeds), seeds, [])


def finish(
    folder: Path,
    called: Sequence[int],
    labels: Sequence[int] = LABELS,
    patients: Sequence[str] | None = None,
    classes: Sequence[str] = CLASSES,
    data: str = "folder",
    validation: float | None = None,
    first: int = 0,
) -> None:
    """Write what a finished job leaves; image i, of class labels[i], was called called[i].

    The class it was called has probability .7; the others share the rest. validation: macro F1 at
    the tested epoch, None without validation images. first: the number of the first image.
    """
    n, n_classes = len(labels), len(classes)
    probabilities = np.full((n, n_classes), 0.3 / (n_classes - 1))
    probabilities[np.arange(n), called] = 0.7
    groups = list(patients or [f"p{first + i}" for i in range(n)])
    names = [classes[k] for k in labels]
    table = pd.DataFrame({"path": [f"test/{first + i:03d}.png" for i in range(n)], "group": groups})
    table = table.assign(label=names, predicted=[classes[k] for k in called])
    folder.mkdir(parents=True, exist_ok=True)
    table = table.join(pd.DataFrame(probabilities, columns=list(classes)))
    write_csv(folder / "predictions.csv", table)
    estimates = estimate(labels, probabilities, classes, groups, n_resamples=100)
    results = {
        "n": n,
        "patients": len(set(groups)),
        "metrics": {f"test/{name}": asdict(value) for name, value in estimates.items()},
        "confusion_matrix": confusion_matrix(labels, called, n_classes).tolist(),
        "tested": {"checkpoint": "last" if validation is None else "best.ckpt", "epoch": 1},
        "validation": {} if validation is None else {"val/f1_macro": validation},
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
        "images_root": str(folder.parent / "no images"),
        "versions": {"torch": "2.14"},
        "git_commit": None,
    }
    config: dict[str, object] = {
        "data": {"name": data, "root": None},
        "split": {"name": "official", "seed": 0},
    }
    config["n_resamples"] = 200
    curves = pd.DataFrame({"epoch": [0, 1], "val/f1_macro": [0.4, 0.5], "train/loss": [1.0, 0.8]})
    write_csv(folder / "curves.csv", curves)
    write_text(folder / "config.yaml", yaml.safe_dump(config))
    write_json(folder / "run.json", record)
    write_json(folder / "metrics.json", results)


def wrong(*images: int) -> list[int]:
    """What a network calls the ten images that has these wrong: the class after the true one."""
    return [(k + 1) % 4 if i in images else k for i, k in enumerate(LABELS)]
