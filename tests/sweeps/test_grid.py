"""A whole sweep from the command line: failures, exit codes, and the same command again."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from forked_commands import Forked, run
from small_runs import BARE, FOLDERS, read_json
from written_sweeps import LABELS, finish

OPTIONS = [
    *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
    *("data.num_workers=0", "data.batch_size=8", "split.val_fraction=0", "trainer=smoke"),
    *(
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "imbalance=focal",
        "name=grid",
        *BARE,
    ),
]
GAMMAS = ["imbalance.loss.gamma=-1,0,2", "optim.lr=0.01"]
REASON = "`cxr_lightning.models.losses.FocalLoss` cannot be built: gamma should be greater than or"
RUN = ["curves.csv", "metrics.json", "predictions.csv", "run.json", "split.csv", "train.log"]
JOBS = ["imbalance.loss.gamma--1", "imbalance.loss.gamma-0", "imbalance.loss.gamma-2"]


def train(*arguments: str, cwd: Path) -> Forked:
    return run(cwd, *OPTIONS, "-m", *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def times(folder: Path) -> dict[str, int]:
    files = [file for file in folder.rglob("*") if file.name != ".lock"]  # old filelocks touch it
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]
) -> tuple[Forked, Path]:
    """A sweep over three cells, of which the first cannot work; and its folder."""
    home = tmp_path_factory.mktemp("sweep")
    write_images(home / "images", {f"{s}/{c}": 4 for s in ("train", "test") for c in FOLDERS})
    return train(*GAMMAS, cwd=home), home / "outputs" / "grid"


# --- the first time ------------------------------------------------------------------------------


def test_a_job_has_a_folder_named_after_what_is_swept(sweep: tuple[Forked, Path]) -> None:
    folder = sweep[1]
    assert sorted(f.name for f in folder.iterdir() if f.is_dir()) == JOBS
    files = {str(f.relative_to(folder / JOBS[1])) for f in (folder / JOBS[1]).rglob("*")}
    assert files == {
        *(".hydra", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", ".lock"),
        *("config.yaml", *RUN, "report.html", "model_card.md", "claim.md"),
    }
    typed = yaml.safe_load((folder / JOBS[1] / ".hydra" / "overrides.yaml").read_text())
    place = [f"name='grid/{JOBS[1]}'", f"folder='{folder / JOBS[1]}'"]
    assert sorted(typed) == sorted([*OPTIONS, "imbalance.loss.gamma=0", "optim.lr=0.01", *place])


def test_the_sweep_has_its_plan_tables_and_report(sweep: tuple[Forked, Path]) -> None:
    folder = sweep[1]
    files = {file.name for file in folder.iterdir() if file.is_file()}
    tables = {"summary.csv", "summary.md", "cells.csv", "report.html"}
    assert files == {"sweep.json"} | tables
    plan = read_json(folder / "sweep.json")
    assert [job["name"] for job in plan["jobs"]] == JOBS
    assert plan["swept"] == ["imbalance.loss.gamma"]


def test_the_screen_tells_which_job_of_how_many_this_is(sweep: tuple[Forked, Path]) -> None:
    lines = sweep[0].stdout.splitlines()
    assert lines[0] == "Sweep outputs/grid: 3 jobs"
    told = [line for line in lines if line.startswith("Job ")]
    assert told[:2] == [f"Job {k + 1} of 3: {JOBS[k]}" for k in (0, 1)]
    # One job has been timed by now.
    assert told[2].startswith(f"Job 3 of 3: {JOBS[2]} · ")
    assert told[2].endswith(" s left")


def test_a_failing_cell_does_not_stop_the_others(sweep: tuple[Forked, Path]) -> None:
    done, folder = sweep
    assert done.status == 1
    assert f"Job imbalance.loss.gamma--1 failed: {REASON}" in done.stderr
    assert done.stderr.splitlines()[-1] == "cxr-train: 1 job failed: imbalance.loss.gamma--1"
    assert "Traceback" not in done.stderr
    trace = (folder / JOBS[0] / "error.txt").read_text()
    assert "Traceback" in trace
    assert f"ConfigError: {REASON}" in trace
    assert not (folder / JOBS[1] / "error.txt").exists()


def test_the_table_has_a_row_for_each_cell_with_its_numbers(sweep: tuple[Forked, Path]) -> None:
    folder = sweep[1]
    table = pd.read_csv(folder / "summary.csv").set_index("imbalance.loss.gamma")
    assert table["status"].to_dict() == {-1: "failed", 0: "finished", 2: "finished"}
    assert table.loc[-1, "error"].startswith(REASON)
    for gamma in (0, 2):
        results = read_json(folder / f"imbalance.loss.gamma-{gamma}" / "metrics.json")
        assert table.loc[gamma, "n"] == results["n"] == 16  # two batches of 8
        for name, estimate in results["metrics"].items():
            for column, key in ((name, "value"), (f"{name}/low", "low"), (f"{name}/high", "high")):
                expected = estimate[key]
                if expected is None:
                    assert pd.isna(table.loc[gamma, column])
                else:
                    assert table.loc[gamma, column] == pytest.approx(expected, abs=1e-12)
    assert pd.isna(table.loc[-1, "test/accuracy"])


def test_the_table_is_printed(sweep: tuple[Forked, Path]) -> None:
    done, folder = sweep
    accuracy = read_json(folder / JOBS[2] / "metrics.json")["metrics"]["test/accuracy"]
    shown = f"{accuracy['value']:.1%} ({100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f})"
    rows = [line.split() for line in done.stdout.splitlines()]
    (row,) = [row for row in rows if row[:1] == ["2"] and row[-1] == "finished"]
    assert row[1:3] == shown.split()
    assert ["-1", "failed"] in rows


# --- the same command again ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def again(sweep: tuple[Forked, Path]) -> tuple[Forked, dict[str, bytes], dict[str, int]]:
    """The same command a second time; the sweep's files before it and their times."""
    folder = sweep[1]
    before = contents(folder), times(folder)
    return train(*GAMMAS, cwd=folder.parents[1]), *before


def test_the_same_command_again_skips_what_is_finished_and_tries_again_what_failed(
    again: tuple[Forked, dict[str, bytes], dict[str, int]],
) -> None:
    lines = again[0].stdout.splitlines()
    assert lines[0] == "Sweep outputs/grid: 3 jobs, of which 2 finished, 1 failed"
    assert [line.split()[0].rpartition("/")[2] for line in lines if "is finished alr" in line] == [
        *JOBS[1:]
    ]
    assert f"Job imbalance.loss.gamma--1 failed: {REASON}" in again[0].stderr
    assert again[0].status == 1


def test_the_same_command_again_changes_no_result(
    sweep: tuple[Forked, Path], again: tuple[Forked, dict[str, bytes], dict[str, int]]
) -> None:
    _, before, when = again
    after, now = contents(sweep[1]), times(sweep[1])
    drawn_anew = ("report.html", f"{JOBS[0]}/train.log")
    assert before.keys() == after.keys()
    assert [f for f in before if before[f] != after[f] and f not in drawn_anew] == []
    assert [f for f in now if f.startswith(tuple(JOBS[1:])) and now[f] != when[f]] == []


def test_another_fixed_value_under_the_same_name_is_refused(
    sweep: tuple[Forked, Path], again: object
) -> None:
    folder = sweep[1]
    before = contents(folder)
    done = train(GAMMAS[0], "optim.lr=0.02", cwd=folder.parents[1])
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"cxr-train: {folder} holds another sweep; it differs in optim.lr=0.01, optim.lr=0.02. "
        "Choose another name=…, delete the folder, or continue it with the same overrides"
    )
    assert done.stderr.rstrip().endswith("imbalance.loss.gamma=-1,0,2 optim.lr=0.01")
    after = contents(folder)
    assert [f for f in after if after[f] != before.get(f)] == []


def test_an_added_value_runs_the_new_job_only(sweep: tuple[Forked, Path], again: object) -> None:
    folder = sweep[1]
    before = times(folder)
    done = train("imbalance.loss.gamma=0,3", "optim.lr=0.01", cwd=folder.parents[1])
    assert done.stdout.startswith("Sweep outputs/grid: 4 jobs, of which 2 finished, 1 failed\n")
    now = times(folder)
    assert [f for f in before if f.startswith(tuple(JOBS[1:])) and now[f] != before[f]] == []
    table = pd.read_csv(folder / "summary.csv").set_index("imbalance.loss.gamma")
    assert table["status"].to_dict() == {
        **{0: "finished", 3: "finished"},
        **{-1: "failed", 2: "finished"},  # not asked for this time, but part of the sweep
    }


def test_a_job_whose_folder_holds_another_run_makes_the_sweep_fail(tmp_path: Path) -> None:
    job = tmp_path / "outputs" / "grid" / "seed-0"
    finish(job, LABELS)
    (job / "config.yaml").write_text((job / "config.yaml").read_text() + "seed: 7\n")
    done = train("seed=range(0,1)", cwd=tmp_path)
    refused = f"{job} holds a run with another configuration: "
    assert done.stderr.startswith(f"cxr-train: Job seed-0 failed: {refused}")
    assert done.stderr.endswith("cxr-train: 1 job failed: seed-0\n")
    assert done.status == 1
    table = pd.read_csv(job.parent / "summary.csv")
    assert table["status"].tolist() == ["failed"]
    assert table["error"][0].startswith(refused)
    assert "test/accuracy" not in table  # what is there is not this sweep's
