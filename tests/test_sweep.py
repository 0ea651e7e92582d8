"""A sweep's jobs, their names, and the table that joins them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cxr_lightning.assemble import check_run
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.sweeps.naming import job_name
from cxr_lightning.sweeps.table import write_summary

# --- a sweep from the command line ---------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A sweep over three cells, of which the first cannot work; and its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    classes = ("COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS")
    write_images(folder / "images", {f"{s}/{c}": 4 for s in ("train", "test") for c in classes})
    options = [
        *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
        *("data.num_workers=0", "data.batch_size=8", "split.val_fraction=0", "trainer=smoke"),
        *("trainer.accelerator=cpu", "trainer.precision=32-true", "callbacks=none"),
        *("logger=none", "imbalance=focal", "name=grid"),
    ]
    command = [sys.executable, "-m", "cxr_lightning.train"]
    done = subprocess.run(
        [*command, *options, "-m", "imbalance.gamma=-1,0,2", "optim.lr=0.01"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "160"},  # wide enough not to fold a cell
        capture_output=True,
        text=True,
        check=False,
    )
    return done, folder / "outputs" / "grid"


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_a_jobs_folder_is_named_after_what_is_swept(
    sweep: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    jobs = sorted(folder.name for folder in sweep[1].iterdir() if folder.is_dir())
    assert jobs == ["imbalance.gamma--1", "imbalance.gamma-0", "imbalance.gamma-2"]


def test_a_failing_cell_does_not_stop_the_others(
    sweep: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = sweep
    assert done.returncode == 1
    assert "Job imbalance.gamma--1 failed: imbalance.gamma: input should be greater" in done.stderr
    assert done.stderr.splitlines()[-1] == "train: 1 jobs failed: imbalance.gamma--1"
    assert "Traceback" not in done.stderr
    trace = (folder / "imbalance.gamma--1" / "error.txt").read_text()
    assert "Traceback" in trace
    assert "ConfigError: imbalance.gamma: input should be greater than or equal to 0" in trace
    assert not (folder / "imbalance.gamma-0" / "error.txt").exists()


def test_the_table_has_a_row_for_each_cell_with_its_numbers(
    sweep: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    folder = sweep[1]
    table = pd.read_csv(folder / "summary.csv").set_index("imbalance.gamma")
    assert table["status"].to_dict() == {-1: "failed", 0: "finished", 2: "finished"}
    for gamma in (0, 2):
        results = read_json(folder / f"imbalance.gamma-{gamma}" / "metrics.json")
        assert table.loc[gamma, "n"] == results["n"] == 16  # two batches of 8
        for name, estimate in results["metrics"].items():
            for column, key in ((name, "value"), (f"{name}/low", "low"), (f"{name}/high", "high")):
                expected = estimate[key]
                if expected is None:
                    assert pd.isna(table.loc[gamma, column])
                else:
                    assert table.loc[gamma, column] == pytest.approx(expected, abs=1e-12)
    assert pd.isna(table.loc[-1, "test/accuracy"])
    assert "optim.lr" not in table.columns  # given, not swept


def test_the_table_is_printed_and_written_as_markdown(
    sweep: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = sweep
    text = (folder / "summary.md").read_text()
    accuracies = re.findall(r"\d+\.\d% \(\d+\.\d–\d+\.\d\)", text)
    assert len(accuracies) >= 2
    assert all(accuracy in done.stdout for accuracy in accuracies)
    header, _, *rows = text.splitlines()
    assert header.split()[1::2][:2] == ["imbalance.gamma", "accuracy"]
    assert [row.split()[1] for row in rows] == ["-1", "0", "2"]
    assert [row.split()[-2] for row in rows] == ["failed", "finished", "finished"]
    accuracy = read_json(folder / "imbalance.gamma-2" / "metrics.json")["metrics"]["test/accuracy"]
    shown = f"{accuracy['value']:.1%} ({100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f})"
    assert shown in rows[2]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "of_the_job", "expected"),
    [
        (
            ["model=cnn5,resnet18", "augment=none,standard", "data.root='/x=y'"],
            ["model=resnet18", "augment=none", "data.root='/x=y'"],
            "model-resnet18_augment-none",
        ),
        (["seed=range(0,3)"], ["seed=2"], "seed-2"),
        (["optim.lr=choice(1e-3,1e-4)"], ["optim.lr=0.0001"], "optim.lr-0.0001"),
        (["+trainer.x=1,2"], ["+trainer.x=1"], "trainer.x-1"),
        (["data.root=/a/b,/c/d"], ["data.root=/c/d"], "data.root--c-d"),
        (["seed=3"], ["seed=3"], "run"),
    ],
)
def test_a_name_has_the_swept_keys_and_no_equals_sign(
    typed: list[str], of_the_job: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cxr-train", "-m", *typed])
    name = job_name(of_the_job)
    assert name == expected
    assert "=" not in name and "/" not in name


def test_a_name_tells_keys_of_the_sweepers_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cxr-train", "-m", "seed=1"])
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    hydra = OmegaConf.create({"sweeper": {"params": {"model": "cnn5,plain18"}}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    assert job_name(["model=plain18", "seed=1"]) == "model-plain18"


# --- the table from files ------------------------------------------------------------------------


def write_job(folder: Path, overrides: list[str], accuracy: float | None = None) -> None:
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    if accuracy is None:
        return
    whole = {"value": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.05}
    metrics = {
        "test/accuracy": whole,
        "test/precision_macro": whole,
        "test/recall_macro": whole,
        "test/f1_macro": {**whole, "low": None, "high": None},
        "test/recall/NORMAL": {**whole, "value": None},
    }
    results = {"n": 40, "patients": 31, "metrics": metrics}
    (folder / "metrics.json").write_text(json.dumps(results))
    (folder / "run.json").write_text(json.dumps({"epochs": 3, "train_epoch_s": 12.34}))


def test_the_table_shows_percents_intervals_and_what_is_missing(tmp_path: Path) -> None:
    write_job(tmp_path / "model-a_seed-0", ["model=a", "seed=0", "name=x"], accuracy=0.7782101)
    write_job(tmp_path / "model-b_seed-0", ["model=b", "seed=0", "name=x"])
    write_job(tmp_path / "model-c_seed-0", ["model=c", "seed=0", "name=x"])
    (tmp_path / "model-c_seed-0" / "error.txt").write_text("trace")
    write_summary(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    cells = [[c.strip() for c in row.strip("|").split("|")] for row in text.splitlines()]
    first = dict(zip(cells[0], cells[2], strict=True))
    assert first == {
        "model": "a",
        "seed": "0",
        "accuracy (95%)": "77.8% (72.8–82.8)",
        "precision": "77.8%",
        "recall": "77.8%",
        "F1 (95%)": "77.8%",
        "recall/NORMAL": "",
        "n": "40",
        "epochs": "3",
        "train_epoch_s": "12.3",
        "status": "finished",
    }
    assert [row[-1] for row in cells[3:]] == ["unfinished", "failed"]
    assert cells[3][:4] == ["b", "0", "", ""]
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["job"].tolist() == ["model-a_seed-0", "model-b_seed-0", "model-c_seed-0"]
    assert table["patients"][0] == 31
    assert "name" not in table.columns


def test_a_table_of_finished_jobs_has_no_status_column(tmp_path: Path) -> None:
    write_job(tmp_path / "seed-0", ["seed=0"], accuracy=0.5)
    assert "status" not in write_summary(tmp_path)


# --- several processes ---------------------------------------------------------------------------


def test_processes_that_would_start_the_sweep_again_are_refused(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(TrainConfig, composed("train", "trainer=ddp"))
    check_run(config)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"mode": RunMode.MULTIRUN}))
    with pytest.raises(
        ConfigError, match=r"strategy=ddp under -m would start the whole sweep again"
    ):
        check_run(config)
    check_run(parse(TrainConfig, composed("train", "trainer=ddp", "trainer.strategy=ddp_spawn")))
