"""Predictions of a sweep's runs side by side, read from files written by hand."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_sweeps import CLASSES, LABELS, finish

from cxr_lightning.errors import DataError
from cxr_lightning.sweeps.aligned import Aligned, Cell, align, cell_name
from cxr_lightning.sweeps.cells import cell_results
from cxr_lightning.sweeps.plan import Job, Plan

Row = tuple[str, str, str, float]  # path, patient, class, probability of the first class

IMAGES = [("b.png", "p1", "x", 0.9), ("a.png", "p1", "y", 0.2), ("c.png", "p2", "y", 0.6)]


def plan(*jobs: dict[str, str]) -> Plan:
    named = [Job("_".join(f"{k}-{v}" for k, v in values.items()), values) for values in jobs]
    return Plan(False, ["cxr-train"], [], list(jobs[0]), len(named), named)


def write(folder: Path, rows: list[Row] = IMAGES, classes: tuple[str, str] = ("x", "y")) -> None:
    """The predictions of a finished job."""
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["path", "group", "label", "p"])
    table["predicted"] = [classes[0] if p > 0.5 else classes[1] for p in table["p"]]
    table[classes[0]], table[classes[1]] = table["p"], 1 - table.pop("p")
    table.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text("{}")


# --- reading -------------------------------------------------------------------------------------


def test_cells_and_seeds_stand_in_the_sweeps_order_images_in_their_own(tmp_path: Path) -> None:
    jobs = plan(*({"model": m, "seed": s} for s in ("1", "0") for m in ("b", "a")))
    for job, p in zip(jobs.jobs, (0.1, 0.2, 0.3, 0.4), strict=True):
        rows = [(path, group, label, p) for path, group, label, _ in IMAGES]
        write(tmp_path / job.name, rows if job.values["seed"] == "1" else rows[::-1])
    got = align(tmp_path, jobs)
    assert got.paths == ["a.png", "b.png", "c.png"]
    assert got.classes == ["x", "y"]
    assert got.labels.tolist() == [1, 0, 1]
    assert got.patients == ["p1", "p1", "p2"]
    assert got.n_patients == 2
    assert [(cell.name, cell.seeds) for cell in got.cells] == [
        ("b", ["seed 1", "seed 0"]),
        ("a", ["seed 1", "seed 0"]),
    ]
    assert [cell.probabilities[:, 0, 0].tolist() for cell in got.cells] == [[0.1, 0.3], [0.2, 0.4]]


def test_the_highest_probability_is_the_answer(tmp_path: Path) -> None:
    write(tmp_path / "model-a")
    got = align(tmp_path, plan({"model": "a"}))
    (cell,) = got.cells
    # a.png .2: y, rightly. b.png .9: x, rightly. c.png .6: x, and it is a y.
    assert cell.predicted.tolist() == [[1, 0, 0]]
    assert got.correct(cell).tolist() == [[True, True, False]]
    assert cell.seeds == [""]
    assert {metric: s["a"].values.tolist() for metric, s in got.samples.items()} == {
        "accuracy": [pytest.approx(2 / 3)],
        "f1_macro": [pytest.approx(2 / 3)],  # x: 2 * 1 / (1 + 2). y: 2 * 1 / (2 + 1).
        "recall/x": [1.0],
        "recall/y": [0.5],
    }


def test_only_finished_jobs_are_read(tmp_path: Path) -> None:
    jobs = plan(*({"model": m} for m in ("failed", "cut", "pruned", "waiting", "good")))
    for name, file in (("failed", "error.txt"), ("cut", "config.yaml"), ("pruned", "pruned.json")):
        write(tmp_path / f"model-{name}")
        (tmp_path / f"model-{name}" / "metrics.json").rename(tmp_path / f"model-{name}" / file)
    with pytest.raises(DataError, match=r"^No job is finished yet\.$"):
        align(tmp_path, jobs)
    write(tmp_path / "model-good")
    assert [cell.name for cell in align(tmp_path, jobs).cells] == ["good"]
    with pytest.raises(DataError, match=r"^No job is finished yet\.$"):
        align(tmp_path, replace(jobs, refused={"model-good": "it holds another run"}))


@pytest.mark.parametrize(
    ("rows", "classes", "n"),
    [
        (IMAGES[:2], ("x", "y"), 2),
        ([("b2.png", *IMAGES[0][1:]), *IMAGES[1:]], ("x", "y"), 3),
        ([(*IMAGES[0][:2], "y", 0.9), *IMAGES[1:]], ("x", "y"), 3),  # called another class
        (IMAGES, ("y", "x"), 3),  # another order of columns
    ],
)
def test_other_images_or_classes_cannot_be_compared(
    rows: list[Row], classes: tuple[str, str], n: int, tmp_path: Path
) -> None:
    write(tmp_path / "model-a_seed-0")
    write(tmp_path / "model-b_seed-0", rows, classes)
    with pytest.raises(DataError) as error:
        align(tmp_path, plan({"model": "a", "seed": "0"}, {"model": "b", "seed": "0"}))
    assert str(error.value) == (
        f"The jobs were tested on different images or classes (3 in the first, {n} in b seed 0): "
        "they cannot be compared image by image, and a difference may be the images'."
    )


def test_the_folds_of_a_seed_are_put_together_when_all_are_there(tmp_path: Path) -> None:
    names = [
        {"model": m, "seed": s, "split.fold": f}
        for m, s, f in product(("a", "b"), ("0", "1"), ("0", "1", "2"))
    ]
    for values in names:
        model, seed, fold = values.values()
        if (model, seed, fold) in {("a", "1", "2"), ("b", "0", "0"), ("b", "1", "1")}:
            continue
        write(tmp_path / f"model-{model}_seed-{seed}_split.fold-{fold}", [IMAGES[int(fold)]])
    got = align(tmp_path, plan(*names))
    # Seed 1 of a lacks a fold, both of b lack one: a cell without a whole seed is not there.
    assert [(cell.name, cell.seeds) for cell in got.cells] == [("a", ["seed 0"])]
    assert got.paths == ["a.png", "b.png", "c.png"]
    assert got.cells[0].probabilities[0, :, 0].tolist() == [0.2, 0.9, 0.6]


def test_several_keys_that_repeat_a_cell_make_its_seeds(tmp_path: Path) -> None:
    jobs = plan(*({"split.seed": a, "seed": b} for a in ("3", "4") for b in ("0", "1")))
    for job in jobs.jobs:
        write(tmp_path / job.name)
    (cell,) = align(tmp_path, jobs).cells
    assert cell.name == "all runs"
    assert cell.seeds == [
        *("seed 0, split.seed 3", "seed 1, split.seed 3"),
        *("seed 0, split.seed 4", "seed 1, split.seed 4"),
    ]


def test_patients_are_text(tmp_path: Path) -> None:
    rows = [("a.png", "007", "x", 0.9), ("b.png", "7", "y", 0.9), ("c.png", "7.0", "y", 0.9)]
    write(tmp_path / "model-a", rows)
    got = align(tmp_path, plan({"model": "a"}))
    assert got.patients == ["007", "7", "7.0"]


WORDS = [("0", "1"), ("00", "01"), ("NA", "None"), ("true", "false")]


@pytest.mark.parametrize("classes", WORDS)
def test_classes_are_text(classes: tuple[str, str], tmp_path: Path) -> None:
    rows = [("a.png", "p", classes[0], 0.9), ("b.png", "q", classes[1], 0.9)]
    write(tmp_path / "model-a", rows, classes)
    got = align(tmp_path, plan({"model": "a"}))
    assert (got.classes, got.labels.tolist()) == (list(classes), [0, 1])


@pytest.mark.parametrize("names", [("001", "010"), ("NA", "null")])
def test_paths_and_patients_are_text(names: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path / "model-a", [(name, name, "x", 0.9) for name in names])
    got = align(tmp_path, plan({"model": "a"}))
    assert (got.paths, got.patients) == (list(names), list(names))


# --- resamples -----------------------------------------------------------------------------------


def test_patients_are_drawn_whole_and_the_same_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_lightning.sweeps.aligned.N_RESAMPLES", 50)
    right = np.array([[[1, 0]] * 4 + [[0, 1]] * 4])  # on patients 0 and 1 of four
    wrong = right[:, ::-1]  # on those, and right on patients 2 and 3
    a = Cell({"m": "a"}, ["0", "1"], np.concatenate([right, wrong]))
    b = Cell({"m": "b"}, ["0"], right)
    patients = [f"p{i // 2}" for i in range(8)]
    got = Aligned(["x", "y"], patients, np.zeros(8, dtype=int), patients, [a, b])
    accuracy = got.samples["accuracy"]
    assert accuracy["a"].values.tolist() == [0.5, 0.5]
    drawn = accuracy["a"].resampled
    assert drawn.shape == (2, 50)
    assert set(4 * drawn[0]) <= {0, 1, 2, 3, 4} and len(set(drawn[0])) > 2
    assert np.allclose(drawn[0] + drawn[1], 1)
    assert np.array_equal(drawn[0], accuracy["b"].resampled[0])


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
    cells = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert len({cell_name(cell) for cell in cells}) == len(cells)


def test_cells_of_a_sweep_given_in_another_order_have_names_of_their_own() -> None:
    one, other = {"model.p": "1", "augment.p": "2"}, {"augment.p": "1", "model.p": "2"}
    assert cell_name(one) != cell_name(other)


# --- results -------------------------------------------------------------------------------------


def test_results_of_a_cell_add_up_its_runs(tmp_path: Path) -> None:
    jobs = plan(*({"model": "a", "seed": s} for s in ("0", "1", "2")))
    finish(tmp_path / "model-a_seed-0", [1, *LABELS[1:]])
    finish(tmp_path / "model-a_seed-1", [1, 1, *LABELS[2:-1], 0])
    (tmp_path / "model-a_seed-0" / "curves.csv").unlink()
    (cell,) = cell_results(tmp_path, jobs, align(tmp_path, jobs))
    assert (cell.name, cell.seeds) == ("a", 2)
    assert cell.confusion.tolist() == [[1, 3, 0, 0], [0, 6, 0, 0], [0, 0, 8, 0], [1, 0, 0, 1]]
    assert cell.values["accuracy"] == [0.9, 0.7]
    assert cell.means["accuracy"].value == pytest.approx(0.8)
    assert cell.sd("accuracy") == pytest.approx(0.2 / 2**0.5)
    assert [cell.means[f"recall/{name}"].value for name in CLASSES] == [0.25, 1, 1, 0.5]
    assert cell.values["recall/TUBERCULOSIS"] == [1, 0]
    assert len(cell.curves) == 1 and len(cell.records) == 2
    assert (cell.epoch_s, cell.fit_min, cell.epochs) == (1.5, 1.0, 2)


def test_a_class_without_test_images_has_no_recall(tmp_path: Path) -> None:
    finish(tmp_path / "model-a", [0, 1, 2], [0, 1, 1])
    jobs = plan({"model": "a"})
    (cell,) = cell_results(tmp_path, jobs, align(tmp_path, jobs))
    assert cell.sd("accuracy") is None
    assert cell.means["recall/NORMAL"].value == 0.5
    absent = cell.means["recall/TUBERCULOSIS"]
    assert absent.value is None or np.isnan(absent.value)
    assert (absent.low, absent.high) == (None, None)
