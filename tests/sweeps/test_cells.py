"""Cells of a sweep from the files of its jobs: what is pooled, what is a seed, what is left out."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from written_sweeps import CLASSES, LABELS, finish, plan, wrong

from cxr_lightning.errors import DataError
from cxr_lightning.sweeps.cells import Cell, cell_name, find_cells, finished_runs
from cxr_lightning.sweeps.comparisons import same_tests
from cxr_lightning.sweeps.plan import Plan, seconds_left
from cxr_lightning.sweeps.table import read_tables

FOLDS = [{"model": m, "seed": s, "split.fold": f} for m, s, f in product("ab", "01", "012")]


def cells(folder: Path, written: Plan) -> list[Cell]:
    return find_cells(written, finished_runs(folder, written))


# --- reading -------------------------------------------------------------------------------------


def test_cells_and_seeds_stand_in_the_sweeps_order_images_by_path(tmp_path: Path) -> None:
    jobs = plan(tmp_path, [{"model": m, "seed": s} for s in "10" for m in "ba"])
    for job in jobs.jobs:
        finish(tmp_path / job.name, wrong(0 if job.values["model"] == "a" else 1))
        table = (tmp_path / job.name / "predictions.csv").read_text().splitlines()
        backwards = [table[0], *table[:0:-1]]
        (tmp_path / job.name / "predictions.csv").write_text("\n".join(backwards) + "\n")
    b, a = cells(tmp_path, jobs)
    assert [
        (cell.name, [seed.runs[0].job.values["seed"] for seed in cell.seeds]) for cell in (b, a)
    ] == [
        ("b", ["1", "0"]),
        ("a", ["1", "0"]),
    ]
    seed = a.seeds[0]
    assert seed.tests["path"].tolist() == [f"test/{i:03d}.png" for i in range(10)]
    assert seed.tests["group"].tolist() == [f"p{i}" for i in range(10)]
    assert seed.labels.tolist() == LABELS
    assert seed.predicted.tolist() == [1, *LABELS[1:]]
    assert a.values_of["accuracy"].tolist() == [0.9, 0.9]


def test_only_finished_jobs_are_read(tmp_path: Path) -> None:
    names = ("failed", "cut", "pruned", "waiting", "refused", "good")
    jobs = plan(tmp_path, [{"model": m} for m in names])
    files = {"failed": "error.txt", "cut": "config.yaml", "pruned": "pruned.json"}
    for name in names:
        finish(tmp_path / f"model-{name}", LABELS)
        if name in files:
            (tmp_path / f"model-{name}/metrics.json").rename(
                tmp_path / f"model-{name}/{files[name]}"
            )
    (tmp_path / "model-waiting" / "metrics.json").unlink()
    (tmp_path / "model-refused" / "refused.txt").write_text("it holds another run")
    assert [cell.name for cell in cells(tmp_path, jobs) if cell.seeds] == ["good"]


def test_names_and_patients_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    classes, patients = ["0", "NA", "true"], ["007", "7", "7.0", "null"]
    jobs = plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", [0, 1, 2, 1], [0, 1, 2, 2], patients, classes)
    (cell,) = cells(tmp_path, jobs)
    assert (cell.classes, cell.seeds[0].tests["group"].tolist()) == (classes, patients)
    assert cell.seeds[0].labels.tolist() == [0, 1, 2, 2]
    (tested,) = same_tests([cell], 100)
    assert tested.largest_class == ("true", 0.5)


def test_other_columns_of_the_predictions_are_no_classes(tmp_path: Path) -> None:
    jobs = plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", LABELS)
    file = tmp_path / "model-a" / "predictions.csv"
    lines = file.read_text().splitlines()
    lines = [f"view,{lines[0]}", *(f"PA,{line}" for line in lines[1:])]
    file.write_text("\n".join(lines) + "\n")
    (cell,) = cells(tmp_path, jobs)
    assert cell.classes == CLASSES
    assert cell.values_of["accuracy"].tolist() == [1.0]


# --- folds and split seeds -----------------------------------------------------------------------


def write_folds(folder: Path, mistakes: dict[tuple[str, str], list[int]]) -> Plan:
    """Three folds of ten images each (LABELS); image 10 f + i is wrong where it is listed."""
    jobs = plan(folder, FOLDS)
    for job in jobs.jobs:
        fold = int(job.values["split.fold"])
        its = [i - 10 * fold for i in mistakes[job.values["model"], job.values["seed"]]]
        finish(folder / job.name, wrong(*its), first=10 * fold, validation=0.5 + fold / 10)
    return jobs


MISTAKES = {
    ("a", "0"): [*range(10), 15, 29],  # 12 of 30, one fold all wrong
    ("a", "1"): [*range(20, 30), 2, 3],  # 12 of 30, another fold all wrong
    ("b", "0"): [],
    ("b", "1"): [0, 1, 2],
}


def test_the_folds_of_a_seed_are_pooled_and_are_no_seeds(tmp_path: Path) -> None:
    a, b = cells(tmp_path, write_folds(tmp_path, MISTAKES))
    assert [len(cell.seeds) for cell in (a, b)] == [2, 2]
    # Of a, both seeds have 18 of 30 right: .6 and .6, although its folds have 0 to 1.
    assert a.values_of["accuracy"].tolist() == pytest.approx([0.6, 0.6])
    assert b.values_of["accuracy"].tolist() == pytest.approx([1.0, 0.9])
    pooled = a.seeds[0]
    assert pooled.tests["path"].tolist() == [f"test/{i:03d}.png" for i in range(30)]
    expected = f1_score(pooled.labels, pooled.predicted, average="macro")
    assert a.values_of["f1_macro"][0] == pytest.approx(expected)
    assert a.validation == pytest.approx(0.6)  # mean of .5, .6 and .7


def test_a_seed_of_which_a_fold_is_missing_is_left_out_and_said(tmp_path: Path) -> None:
    jobs = write_folds(tmp_path, MISTAKES)
    for name in ("model-a_seed-1_split.fold-2", "model-b_seed-0_split.fold-0"):
        (tmp_path / name / "metrics.json").unlink()
    (tmp_path / "model-b_seed-1_split.fold-1" / "predictions.csv").unlink()
    a, b = cells(tmp_path, jobs)
    assert ([seed.runs[0].job.values["seed"] for seed in a.seeds], b.seeds) == (["0"], [])
    until = "is left out until all its folds and split seeds are finished: 2 of 3 are."
    assert a.left_out == [f"“a”, seed 1 {until}"]
    assert b.left_out == [
        f"“b”, seed 0 {until}",
        f"“b”, seed 1 {until}",  # a run whose predictions are lost counts as not finished
    ]


def test_an_image_that_several_split_seeds_test_has_one_row_per_test(tmp_path: Path) -> None:
    jobs = plan(tmp_path, [{"split.seed": s} for s in "34"])
    finish(tmp_path / "split.seed-3", wrong(0))
    finish(tmp_path / "split.seed-4", wrong(3, 4), first=5)  # images 5 to 14; 8 and 9 are wrong
    (cell,) = cells(tmp_path, jobs)
    (seed,) = cell.seeds
    assert (len(seed.tests), seed.tests["group"].nunique()) == (20, 15)
    assert cell.values_of["accuracy"].tolist() == [0.85]  # 17 of 20
    (tested,) = same_tests([cell], 400)
    assert len(tested.patients) == 15
    # Patients are drawn whole: the resampled accuracy is 1 - (m0 + m8 + m9) / (m0..m4 + 2 m5..m9
    # + m10..m14), of which m has mean 1, variance 14/15 and covariance -1/15.
    gradient = np.array([1.0] * 5 + [2.0] * 5 + [1.0] * 5) * 3 / 20**2
    gradient[[0, 8, 9]] -= 1 / 20
    sd = np.sqrt((gradient**2).sum() - gradient.sum() ** 2 / 15)
    drawn = tested.samples["accuracy"]["all runs"][:, 1:]
    assert drawn.shape == (1, 400)
    assert drawn.std() == pytest.approx(sd, rel=0.1)


def test_seeds_that_were_tested_on_other_images_have_a_mean_and_a_spread(tmp_path: Path) -> None:
    jobs = plan(
        tmp_path, [{"model": m, "seed": s} for m in "ab" for s in "01"]
    )  # split.seed=${seed}
    for job in jobs.jobs:
        first = 5 * int(job.values["seed"])
        finish(tmp_path / job.name, wrong(*([1] if first else [1, 2, 3])), first=first)
    a, b = cells(tmp_path, jobs)
    assert a.values_of["accuracy"].tolist() == pytest.approx([0.7, 0.9])
    (tested,) = same_tests([a, b], 100)  # seed by seed, both were tested on the same
    assert (len(tested.images), len(tested.patients)) == (15, 15)
    assert np.array_equal(tested.samples["accuracy"]["a"], tested.samples["accuracy"]["b"])


# --- resamples -----------------------------------------------------------------------------------


def test_patients_are_drawn_whole_and_the_same_for_all(tmp_path: Path) -> None:
    jobs = plan(tmp_path, [{"model": m} for m in "ab"])
    patients = [f"p{i // 2}" for i in range(8)]
    finish(tmp_path / "model-a", [0, 0, 0, 0, 1, 1, 1, 1], [0] * 8, patients)
    finish(tmp_path / "model-b", [1, 1, 1, 1, 0, 0, 0, 0], [0] * 8, patients)
    (tested,) = same_tests(cells(tmp_path, jobs), 50)
    a, b = (tested.samples["accuracy"][name][:, 1:] for name in "ab")
    assert a.shape == b.shape == (1, 50)
    assert set(4 * a[0]) <= {0, 1, 2, 3, 4} and len(set(a[0])) > 2
    assert np.allclose(a + b, 1)  # a is right where b is wrong


# --- one run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("called", "labels", "collapsed"),
    [
        ([2] * 10, LABELS, "PNEUMONIA"),
        ([2] * 9 + [1], LABELS, None),
        ([2, 2], [2, 2], None),  # there is no other class to be called
    ],
)
def test_a_run_that_calls_every_image_one_class_has_collapsed(
    called: list[int], labels: list[int], collapsed: str | None, tmp_path: Path
) -> None:
    jobs = plan(tmp_path, [{"seed": "0"}])
    finish(tmp_path / "seed-0", called, labels)
    (run,) = finished_runs(tmp_path, jobs)
    assert run.collapsed == collapsed


# --- names ---------------------------------------------------------------------------------------


def test_a_cells_name_is_short() -> None:
    assert cell_name({"model": "a", "optim.lr": "0.1"}) == "a, lr=0.1"
    assert cell_name({}) == "all runs"


@pytest.mark.parametrize(
    "grid",
    [
        {"a.lr": ["1", "2"], "b.lr": ["1", "2"]},
        {"imbalance": ["none", "focal"], "augment": ["none", "focal"]},
        {"model": ["lr=1", "a"], "optim.lr": ["1", "a"]},
        {"x": ["[1,2]", "1", "'1, 2'"], "y": ["2", "'2, 1'", "[2]"]},
    ],
)
def test_no_two_cells_of_a_grid_have_the_same_name(grid: dict[str, list[str]]) -> None:
    named = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert len({cell_name(cell) for cell in named}) == len(named)


def test_cells_of_a_sweep_given_in_another_order_have_names_of_their_own() -> None:
    one, other = {"model.p": "1", "augment.p": "2"}, {"augment.p": "1", "model.p": "2"}
    assert cell_name(one) != cell_name(other)


@pytest.mark.parametrize("file", ["metrics.json", "run.json", "predictions.csv"])
@pytest.mark.parametrize("left", [0, 0.5])
def test_a_damaged_file_of_one_job_leaves_the_others_in_the_tables(
    file: str, left: float, tmp_path: Path
) -> None:
    plan(tmp_path, [{"model": "cnn5"}, {"model": "resnet18"}])
    for model in ("cnn5", "resnet18"):
        finish(tmp_path / f"model-{model}", wrong(1))
    damaged = tmp_path / "model-cnn5" / file
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(left * len(content))])
    tables = read_tables(tmp_path, with_intervals=True)
    jobs = tables.jobs.set_index("job")
    assert jobs["status"].to_dict() == {"model-cnn5": "damaged", "model-resnet18": "finished"}
    assert jobs["test/accuracy"]["model-resnet18"] == 0.9  # one of ten is wrong
    assert seconds_left(tmp_path) == 0
    said = [note for note in tables.notes if str(damaged) in note]
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert "Delete it" in said[0]


def test_a_damaged_plan_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(DataError, match=r"sweep\.json is damaged: the list of jobs is lost\. Del"):
        read_tables(tmp_path)
