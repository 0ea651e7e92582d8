"""A run that is written and not trained: ten images, one called wrongly, numbers that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from written_sweeps import CLASSES, finish, wrong

from cxr_lightning.pages.thumbnails import data_url
from cxr_lightning.runs.writing import write_json, write_text


def estimated(value: float, low: float, high: float, n: int = 10) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "method": "bootstrap"}


def rung(key: str, name: str, accuracy: float, minus: tuple[float, float, float]) -> dict[str, Any]:
    metrics = {
        metric: estimated(accuracy, accuracy - 0.1, accuracy + 0.1)
        for metric in (
            *("accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "mcc"),
            *("specificity_macro", "auroc_macro", "average_precision_macro"),
        )
    }
    difference = dict(zip(("value", "low", "high"), minus, strict=True)) | {"p": None}
    return {"rung": key, "name": name, "network_minus_rung": difference, "metrics": metrics}


def change(file: Path, **values: Any) -> None:
    """Set these keys of a JSON file."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    write_json(file, content | values)


def bare_run(folder: Path, classes: list[str] = CLASSES, data: str = "folder") -> Path:
    """A finished run with what every run leaves and nothing more. Image 0, of class 0, is wrong."""
    finish(folder, wrong(0), classes=classes, data=data)
    counts = dict(zip(classes, [2, 3, 4, 1], strict=True))
    change(
        folder / "metrics.json",
        images_per_class=counts,
        classes_without_images=[],
        majority_baseline_accuracy=0.4,
    )
    images = {"train": dict.fromkeys(classes, 20), "val": dict.fromkeys(classes, 0), "test": counts}
    patients = {"train": 60, "test": 10}
    change(folder / "run.json", images=images, patients=patients, seed=3, unreadable_images={})
    write_text(folder / "split.csv", "path,split\na.png,train\nb.png,test\nc.png,\n")
    return folder


def whole_run(folder: Path, classes: list[str] = CLASSES, data: str = "folder") -> Path:
    """A run with everything that there can be."""
    bare_run(folder, classes, data)
    change(folder / "run.json", git_commit="0123456789" * 8)  # a word that must not widen the page
    score = {"value": 0.2, "low": 0.1, "high": 0.3}
    scores = {"ece": score, "brier": score, "log_loss": score}
    write_json(
        folder / "calibration.json",
        {
            "temperature": 1.5,
            "fitted_on": {"split": "val", "n": 7},
            "test": {"n": 10, "before": scores, "after": scores | {"ece": score | {"value": 0.15}}},
        },
    )
    names = ["facts", "histogram", "thumbnail", "border", "untrained"]
    rungs = [rung("nothing", "nothing (the largest class)", 0.4, (0.5, 0.2, 0.8))]
    rungs += [rung(name, name, 0.5, (0.4, 0.1, 0.7)) for name in names]
    rungs[4] = rung("border", "border alone", 0.85, (0.05, -0.1, 0.2))
    write_json(folder / "ladder.json", rungs)
    write_json(
        folder / "explanation.json",
        {
            "method": "Grad-CAM of the predicted class",
            "images": 10,
            "empty_maps": 1,
            "center": {"field": 0.8, "uniform_share": 0.64, **estimated(0.7, 0.6, 0.8, 9)},
            "randomised_weights": {"rank_correlation": 0.1, "n": 9},
        },
    )
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lost = {
        "internal": estimated(0.9, 0.6, 0.99),
        "external": estimated(0.3, 0.2, 0.4, 50),
        "difference": {"value": 0.6, "low": 0.4, "high": 0.7, "p": None},
    }
    (folder / "external" / "there").mkdir(parents=True)
    write_json(
        folder / "external" / "there" / "metrics.json", results | {"lost": {"accuracy": lost}}
    )
    write_text(
        folder / "subgroups.csv",
        "column,stratum,n,patients,note,"
        + ",".join(f"{m}{e}" for m in ("accuracy", "balanced_accuracy", "auroc_macro")
                   for e in ("", "/low", "/high"))
        + "\nsex,f,6,6,,0.75,0.5,0.9,0.7,,,,,\nsex,m,4,4,too few patients (4) for numbers"
        + "," * 9 + "\n",
    )  # fmt: skip
    (folder / "triage").mkdir()
    write_json(
        folder / "triage" / "triage.json",
        {
            "target": classes[3],
            "threshold": 0.25,
            "cautions": ["Ages are not known."],
            "patients": {
                "sensitivity": {"hits": 36, "n": 39},
                "specificity": {"hits": 5, "n": 9},
            },
            "verdicts": {"who": {"verdict": "FAIL", "sensitivity": 0.9, "specificity": 0.7}},
        },
    )
    pixel = data_url(np.zeros((4, 4), dtype=np.uint8))
    write_json(folder / "worst_mistakes.json", {"test/000.png": {"film": pixel, "heatmap": pixel}})
    for name in ("calibration", "confusion_matrix", "worst_mistakes"):
        (folder / f"{name}.png").write_bytes(b"PNG")
    return folder
