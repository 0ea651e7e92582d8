"""A sweep's tables from the files of its jobs: one row per job, and one per cell over its seeds."""

import math
from pathlib import Path

import pandas as pd
import pytest
from written_sweeps import LABELS, finish, plan, wrong

from cxr_lightning.runs.writing import read_json, write_json
from cxr_lightning.sweeps.plan import Job, Plan, write_plan
from cxr_lightning.sweeps.table import print_tables, read_tables, write_summary, write_tables

UNCHOSEN = (
    "There are no validation images, so nothing may be chosen by these test numbers. The rows are "
    "in the order of the sweep."
)


def fail(folder: Path, error: str) -> None:
    folder.mkdir()
    (folder / "error.txt").write_text(f"Traceback:\n  line 1\n{error}\n")


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by column."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


# --- one row per job -----------------------------------------------------------------------------


def test_the_table_shows_percents_intervals_and_what_is_missing(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": name, "seed": "0"} for name in "abcd"])
    job = tmp_path / "model-a_seed-0"
    finish(job, wrong(0, 5), validation=0.5)
    results = read_json(job / "metrics.json")
    known = {"test/accuracy": 0.7782101, "test/recall/NORMAL": None}
    for name, value in known.items():
        limits = {"value": value, "low": 0.728, "high": 0.828}
        results["metrics"][name] |= limits
    write_json(job / "metrics.json", results)
    (tmp_path / "model-b_seed-0").mkdir()
    (tmp_path / "model-b_seed-0" / "config.yaml").touch()
    fail(tmp_path / "model-c_seed-0", "ValueError: too | small")
    texts = read_tables(tmp_path).job_texts
    first, *others = texts.to_dict("records")
    assert {k: v for k, v in first.items() if k in ("model", "seed", "accuracy", "status")} == {
        **{"model": "a", "seed": "0", "status": "finished"},
        "accuracy": "77.8% (72.8–82.8)",
    }
    assert first["validation macro F1"] == "50.0%"  # the only one: there is nothing to choose
    assert (first["n"], first["epochs"], first["s/epoch"], first["error"]) == ("10", "2", "1.5", "")
    assert [row["status"] for row in others] == ["unfinished", "failed", "waiting"]
    assert [row["error"] for row in others] == ["", "ValueError: too | small", ""]
    assert [row["accuracy"] + row["n"] for row in others] == ["", "", ""]
    write_summary(tmp_path)
    assert r"ValueError: too \| small" in (tmp_path / "summary.md").read_text()


def test_summary_csv_has_every_job_every_limit_and_no_seconds(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": name} for name in "ab"], "optim.lr=0.1")
    finish(tmp_path / "model-b", wrong(5))
    finish(tmp_path / "model-a", wrong(0, 1, 2, 3, 4))
    write_summary(tmp_path)
    table = pd.read_csv(tmp_path / "summary.csv")
    assert table["job"].tolist() == ["model-a", "model-b"]  # in the order of the plan
    assert table["model"].tolist() == ["a", "b"]
    for i, name in enumerate("ab"):
        metrics = read_json(tmp_path / f"model-{name}" / "metrics.json")["metrics"]
        for metric, estimate in metrics.items():
            for column, key in ((metric, "value"), (f"{metric}/low", "low")):
                expected = math.nan if estimate[key] is None else estimate[key]
                assert table.loc[i, column] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert table[["n", "patients", "epochs"]].to_numpy().tolist() == [[10, 10, 2]] * 2
    assert table["tested_checkpoint"].tolist() == ["last", "last"]
    assert not {"optim.lr", "name", "train_epoch_s"} & set(table.columns)
    before = (tmp_path / "summary.csv").read_bytes()
    record = read_json(tmp_path / "model-a" / "run.json")
    write_json(tmp_path / "model-a" / "run.json", record | {"train_epoch_s": 99.0})
    write_summary(tmp_path)
    assert (tmp_path / "summary.csv").read_bytes() == before  # slower, but the same run
    assert read_tables(tmp_path).job_texts["s/epoch"].tolist() == ["99.0", "1.5"]


def test_a_table_of_finished_jobs_has_no_status_and_no_error(tmp_path: Path) -> None:
    plan(tmp_path, [{"seed": "0"}])
    finish(tmp_path / "seed-0", LABELS)
    assert not {"status", "error"} & set(read_tables(tmp_path).job_texts)


def test_a_sweep_that_has_not_begun_has_a_table(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "0"}, {"model": "1"}])
    write_summary(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert rows(text) == [{"model": s, "status": "waiting", "error": ""} for s in "01"]


def test_a_run_of_an_earlier_version_has_no_validation(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", LABELS, validation=0.5)
    results = read_json(tmp_path / "model-a" / "metrics.json")
    del results["validation"], results["tested"]
    write_json(tmp_path / "model-a" / "metrics.json", results)
    assert UNCHOSEN in read_tables(tmp_path).notes


# --- one row per cell ----------------------------------------------------------------------------


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Cell a: .6, .7, .8. Cell b: .5, a failure and one that waits."""
    plan(tmp_path, [{"seed": s, "model": m} for s in "012" for m in "ab"])
    for seed in range(3):
        finish(tmp_path / f"seed-{seed}_model-a", wrong(*range(4 - seed)))
    finish(tmp_path / "seed-0_model-b", wrong(*range(5)))
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
    assert not {"seed", "test/accuracy/low"} & set(cells.columns)  # no bootstrap after each job


def test_intervals_are_in_every_rendering_of_a_report(seeds: Path) -> None:
    tables = read_tables(seeds, with_intervals=True)
    write_tables(seeds, tables)
    cells = pd.read_csv(seeds / "cells.csv").set_index("model")
    low, high = cells.loc["a", ["test/accuracy/low", "test/accuracy/high"]]
    assert low < 0.7 < high
    shown = f"70.0 ± 10.0% ({100 * low:.1f}–{100 * high:.1f})"
    assert tables.cell_texts["accuracy"][0] == shown
    text = (seeds / "summary.md").read_text()
    assert text.startswith("Each cell, mean ± standard deviation over seeds (95% interval):\n")
    assert f"| {shown} " in text


def test_the_markdown_has_cells_first_then_every_run_then_the_notes(seeds: Path) -> None:
    write_summary(seeds)
    cells, jobs = (seeds / "summary.md").read_text().split("Each run on its test images")
    assert [(r["model"], r["seeds"], r["accuracy"]) for r in rows(cells)] == [
        ("a", "3 of 3", "70.0 ± 10.0%"),
        ("b", "1 of 3", "50.0%"),
    ]
    accuracies = [row["accuracy"][:6] for row in rows(jobs)]
    assert accuracies == ["60.0% ", "50.0% ", "70.0% ", "", "80.0% ", ""]
    assert f"- {UNCHOSEN}" in jobs
    assert "- Always answering “PNEUMONIA”, the largest class, is right in 40.0%." in jobs


def test_folds_and_split_seeds_are_pooled_and_a_missing_fold_is_said(tmp_path: Path) -> None:
    jobs = plan(tmp_path, [{"seed": s, "split.fold": f} for s in "012" for f in "01"])
    for job in jobs.jobs:
        fold = int(job.values["split.fold"])
        # Each seed has one fold all right, and the other all wrong: 10 of 20.
        called = wrong(*range(10)) if str(fold) == job.values["seed"] else LABELS
        finish(tmp_path / job.name, called, first=10 * fold)
    (tmp_path / "seed-2_split.fold-1" / "metrics.json").unlink()
    tables = read_tables(tmp_path)
    (cell,) = tables.cell_texts.to_dict("records")
    assert (cell["seeds"], cell["accuracy"]) == ("2 of 3", "50.0 ± 0.0%")
    assert tables.cells["n"].tolist() == [20]
    assert (
        "The test predictions of a seed are pooled over split.fold, and the metrics are computed "
        "on them; a standard deviation is over values of seed alone."
    ) in tables.notes
    assert (
        "“all runs”, seed 2 is left out until all its folds and split seeds are finished: 1 of 2 "
        "are."
    ) in tables.notes


def test_the_screen_shows_cells_where_there_are_seeds_else_jobs(
    seeds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_tables(read_tables(seeds))
    shown = capsys.readouterr().out
    assert "Test images, mean ± sd over seeds" in shown
    assert "a      3 of 3  70.0 ± 10.0%" in shown
    assert "Always answering “PNEUMONIA”, the largest class, is right in 40.0%." in shown
    assert "recall/NORMAL" not in shown  # for the files: a screen is narrow
    plan(seeds / "other", [{"model": "[a]"}, {"model": "b"}])
    finish(seeds / "other" / "model-[a]", wrong(0))
    print_tables(read_tables(seeds / "other"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "Test images, by job"
    assert lines[2].split()[:2] == ["[a]", "90.0%"]
    assert lines[3].split() == ["b", "waiting"]


# --- choosing ------------------------------------------------------------------------------------


def test_rows_are_sorted_by_validation_and_the_best_is_marked(tmp_path: Path) -> None:
    values = {"a": (0.5, 0.6), "b": (0.9, 0.5), "c": (0.6, 0.62)}
    plan(tmp_path, [{"model": m, "seed": s} for m in values for s in "01"])
    for model, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            # a has the best test numbers, and is not chosen for them.
            called = LABELS if model == "a" else wrong(1, 5)
            finish(tmp_path / f"model-{model}_seed-{seed}", called, validation=value)
    tables = read_tables(tmp_path)
    assert tables.cell_texts["model"].tolist() == ["b", "c", "a"]  # .7, .61, .55
    marked = ["70.0% (best)", "61.0%", "55.0%"]
    assert tables.cell_texts["validation macro F1"].tolist() == marked
    assert tables.cells["val/f1_macro"].tolist() == pytest.approx([0.7, 0.61, 0.55])
    jobs = tables.job_texts
    assert (jobs["model"] + jobs["seed"]).tolist() == ["b0", "c1", "a1", "c0", "a0", "b1"]
    assert jobs["validation macro F1"].tolist()[:2] == ["90.0% (best)", "62.0%"]
    write_summary(tmp_path)
    written = pd.read_csv(tmp_path / "summary.csv")
    assert written["val/f1_macro"].tolist() == [0.9, 0.62, 0.6, 0.6, 0.5, 0.5]
    assert tables.notes[0] == (
        "The rows are sorted by macro F1 on the validation images, at the tested epoch. Choose by "
        "validation; the test numbers are for reporting."
    )


def test_without_validation_images_nothing_is_sorted_or_marked(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": m} for m in "ab"])
    finish(tmp_path / "model-a", wrong(1))
    finish(tmp_path / "model-b", LABELS)
    tables = read_tables(tmp_path)
    assert tables.job_texts["model"].tolist() == ["a", "b"]
    assert "validation macro F1" not in tables.job_texts
    assert tables.notes[0] == UNCHOSEN


def test_a_cell_without_validation_images_stands_last(tmp_path: Path) -> None:
    plan(tmp_path, [{"split.val_fraction": v} for v in ("0", "0.1", "0.2")])
    for name, value in (("0", None), ("0.1", 0.4), ("0.2", 0.5)):
        finish(tmp_path / f"split.val_fraction-{name}", LABELS, validation=value)
    tables = read_tables(tmp_path)
    assert tables.cell_texts["split.val_fraction"].tolist() == ["0.2", "0.1", "0"]
    assert tables.cell_texts["validation macro F1"].tolist() == ["50.0% (best)", "40.0%", ""]
    assert "Runs without validation images stand last and cannot be chosen." in tables.notes[0]


def test_cells_of_other_test_images_have_rows_and_are_named(tmp_path: Path) -> None:
    plan(tmp_path, [{"split": s} for s in ("official", "pooled")])
    finish(tmp_path / "split-official", wrong(5))
    finish(tmp_path / "split-pooled", [0, 1, 1], [0, 1, 2], first=3)
    tables = read_tables(tmp_path, with_intervals=True)
    assert [text[:5] for text in tables.cell_texts["accuracy"]] == ["90.0%", "66.7%"]
    assert tables.notes[1:] == [
        "“official” (10 images of 10 patients): always answering “PNEUMONIA”, the largest class, "
        "is right in 40.0%.",
        "“pooled” (3 images of 3 patients): always answering “COVID19”, the largest class, is "
        "right in 33.3%.",
        "Cells that were tested on different images, classes or patients are not compared with "
        "each other, as a difference may come from the images.",
    ]


def test_a_collapsed_run_is_named(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": m} for m in "ab"])
    finish(tmp_path / "model-a", LABELS)
    finish(tmp_path / "model-b", [2] * 10)
    write_summary(tmp_path)
    told = "Collapsed: every test image is called “PNEUMONIA” by model-b."
    assert told in read_tables(tmp_path).notes
    assert f"- {told}" in (tmp_path / "summary.md").read_text()
    assert pd.read_csv(tmp_path / "summary.csv")["collapsed"].fillna("").tolist() == [
        "",
        "PNEUMONIA",
    ]


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
    write_plan(tmp_path, Plan(True, "", [], ["x"], 1, [Job("trial0", {"x": value})]))
    write_summary(tmp_path)
    assert read_tables(tmp_path).job_texts["x"].tolist() == [shown]
    assert pd.read_csv(tmp_path / "summary.csv", dtype=str)["x"].tolist() == [value]  # in full


def test_the_trials_of_a_search_are_cells_of_their_own(tmp_path: Path) -> None:
    jobs = [Job(f"trial-{i:03d}", {"model": "a"}) for i in range(2)]  # the same was drawn twice
    write_plan(tmp_path, Plan(True, "", [], ["model"], 2, jobs))
    finish(tmp_path / "trial-000", LABELS, validation=0.4)
    finish(tmp_path / "trial-001", wrong(1), validation=0.5)
    tables = read_tables(tmp_path)
    assert tables.cells["cell"].tolist() == ["trial-001", "trial-000"]
    assert tables.cells["seeds"].tolist() == [1, 1]
