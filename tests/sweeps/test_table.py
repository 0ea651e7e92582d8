"""A sweep's tables from the files of its jobs: a row a job, and a row a cell over its seeds."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from written_sweeps import plan

from cxr_lightning.sweeps.plan import Job, Plan, write_plan
from cxr_lightning.sweeps.table import print_summary, shown_jobs, summarise, write_summary


def finish(folder: Path, accuracy: float, seconds: float = 12.34, **more: Any) -> None:
    """Write a job's results, of which the table shows the accuracy; `more` changes the record."""
    folder.mkdir(parents=True, exist_ok=True)
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
    record = {"device": "cpu", "processes": 1, "parameters": 5, "epochs": 3}
    record |= {"train_epoch_s": seconds, "seconds": {"fit": 60.0, "test": 3.0}} | more
    (folder / "run.json").write_text(json.dumps(record))


def fail(folder: Path, error: str) -> None:
    folder.mkdir()
    (folder / "error.txt").write_text(f"Traceback:\n  line 1\n{error}\n")


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by column."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


# --- a row a job ---------------------------------------------------------------------------------


def test_the_table_shows_percents_intervals_and_what_is_missing(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": name, "seed": "0"} for name in "abcd"])
    finish(tmp_path / "model-a_seed-0", 0.7782101)
    (tmp_path / "model-b_seed-0").mkdir()
    (tmp_path / "model-b_seed-0" / "config.yaml").touch()
    fail(tmp_path / "model-c_seed-0", "ValueError: too small")
    write_summary(tmp_path)
    first, *others = rows((tmp_path / "summary.md").read_text())
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
        "s/epoch": "12.3",
        "status": "finished",
        "error": "",
    }
    assert [row["status"] for row in others] == ["unfinished", "failed", "waiting"]
    assert [row["error"] for row in others] == ["", "ValueError: too small", ""]
    assert [row["accuracy (95%)"] + row["n"] for row in others] == ["", "", ""]


def test_summary_csv_has_every_job_every_limit_and_no_seconds(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": name} for name in "ab"], "optim.lr=0.1")
    finish(tmp_path / "model-b", 0.7782101)
    finish(tmp_path / "model-a", 0.5)
    write_summary(tmp_path)
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["job"].tolist() == ["model-a", "model-b"]  # in the order of the plan
    assert table["model"].tolist() == ["a", "b"]
    assert table["test/accuracy"].tolist() == [0.5, 0.7782101]
    assert table["test/accuracy/low"].tolist() == pytest.approx([0.45, 0.7282101], abs=1e-12)
    assert table["test/accuracy/high"].tolist() == pytest.approx([0.55, 0.8282101], abs=1e-12)
    assert table["test/f1_macro/low"].isna().all()
    assert table[["n", "patients", "epochs"]].to_numpy().tolist() == [[40, 31, 3]] * 2
    assert not {"optim.lr", "name", "train_epoch_s"} & set(table.columns)
    before = (tmp_path / "summary.csv").read_bytes()
    finish(tmp_path / "model-a", 0.5, seconds=99.0)  # slower, but the same run
    summary = write_summary(tmp_path)
    assert (tmp_path / "summary.csv").read_bytes() == before
    assert summary.costs["train_epoch_s"].tolist() == [99.0, 12.34]
    assert summary.costs["fit_s"].tolist() == [60.0, 60.0]


def test_a_table_of_finished_jobs_has_no_status_and_no_error(tmp_path: Path) -> None:
    plan(tmp_path, [{"seed": "0"}])
    finish(tmp_path / "seed-0", 0.5)
    assert not {"status", "error"} & set(shown_jobs(write_summary(tmp_path)))


def test_a_sweep_that_has_not_begun_has_a_table(tmp_path: Path) -> None:
    plan(tmp_path, [{"seed": "0"}, {"seed": "1"}])
    write_summary(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert rows(text) == [{"seed": s, "status": "waiting"} for s in ("0", "1")]


# --- a row a cell --------------------------------------------------------------------------------


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Cell a: .6, .7, .8. Cell b: .5, a failure and one that waits."""
    plan(tmp_path, [{"seed": s, "model": m} for s in "012" for m in "ab"])
    for seed, accuracy in enumerate((0.6, 0.7, 0.8)):
        finish(tmp_path / f"seed-{seed}_model-a", accuracy)
    finish(tmp_path / "seed-0_model-b", 0.5)
    fail(tmp_path / "seed-1_model-b", "ValueError: too small")
    return tmp_path


def test_a_cell_has_mean_and_standard_deviation_over_its_finished_seeds(seeds: Path) -> None:
    # (.6 + .7 + .8) / 3 = .7; deviations -.1, 0, .1: sqrt(.02 / (3 - 1)) = .1
    write_summary(seeds)
    cells = pd.read_csv(seeds / "cells.csv").set_index("model")
    assert list(cells.index) == ["a", "b"]
    assert cells["jobs"].tolist() == [3, 3]
    assert cells["seeds"].tolist() == [3, 1]
    assert cells["test/accuracy"].tolist() == pytest.approx([0.7, 0.5], abs=1e-12)
    assert cells.loc["a", "test/accuracy/sd"] == pytest.approx(0.1, abs=1e-12)
    assert math.isnan(cells.loc["b", "test/accuracy/sd"])  # one seed has no spread
    assert cells["test/recall/NORMAL"].isna().all()
    assert not {"seed", "test/accuracy/low"} & set(cells.columns)


def test_the_markdown_has_cells_first_and_every_run_below(seeds: Path) -> None:
    write_summary(seeds)
    cells, jobs = (seeds / "summary.md").read_text().split("Each run, with its 95% interval:\n")
    assert cells.startswith("Mean ± standard deviation over seeds:\n")
    assert rows(cells) == [
        {
            "model": model,
            "seeds": done,
            **dict.fromkeys(("accuracy", "precision", "recall", "F1"), shown),
            "recall/NORMAL": "",
        }
        for model, done, shown in (("a", "3 of 3", "70.0 ± 10.0%"), ("b", "1 of 3", "50.0%"))
    ]
    accuracies = [row["accuracy (95%)"] for row in rows(jobs)]
    assert accuracies[:3] == ["60.0% (55.0–65.0)", "50.0% (45.0–55.0)", "70.0% (65.0–75.0)"]
    assert len(accuracies) == 6


def test_folds_and_seeds_of_the_split_repeat_a_cell_too(tmp_path: Path) -> None:
    keys = ("seed", "split.seed", "split.fold")
    plan(tmp_path, [dict(zip(keys, values, strict=True)) for values in ("000", "001", "110")])
    for i, job in enumerate(summarise(tmp_path).plan.jobs):
        finish(tmp_path / job.name, 0.5 + i / 10)
    summary = summarise(tmp_path)
    assert summary.cells["seeds"].tolist() == [3]
    assert summary.cells["test/accuracy"].tolist() == pytest.approx([0.6], abs=1e-12)


def test_the_screen_shows_cells_where_there_are_seeds_else_jobs(
    seeds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_summary(summarise(seeds))
    shown = capsys.readouterr().out
    assert "test, mean ± sd over seeds" in shown
    assert "a      3 of 3  70.0 ± 10.0%" in shown
    assert "recall/NORMAL" not in shown  # for the files: a screen is narrow
    plan(seeds / "other", [{"model": "a"}, {"model": "b"}])
    finish(seeds / "other" / "model-a", 0.6)
    print_summary(summarise(seeds / "other"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "test"
    assert lines[2].split()[:3] == ["a", "60.0%", "(55.0–65.0)"]
    assert lines[3].split() == ["b", "waiting"]


# --- numbers that a search has drawn -------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.0012345678901", "0.00123"),
        ("3.4567890123e-06", "3.46e-06"),
        ("0.001", "0.001"),
        ("1e-05", "1e-05"),
        ("-0.25000001", "-0.25"),
        ("resnet18", "resnet18"),
        ("2022-01-01/1234567", "2022-01-01/1234567"),
        ("20240101", "20240101"),
    ],
)
def test_a_long_number_is_shown_in_three_digits(value: str, shown: str, tmp_path: Path) -> None:
    write_plan(tmp_path, Plan(True, [], [], ["x"], 1, [Job("trial0", {"x": value})]))
    summary = write_summary(tmp_path)
    assert shown_jobs(summary)["x"].tolist() == [shown]
    assert pd.read_csv(tmp_path / "summary.csv", dtype=str)["x"].tolist() == [value]  # in full
