"""What report.html says of sweeps that are finished, are not, or cannot be compared."""

import html
import re
import sys
from pathlib import Path

import pytest
from written_sweeps import CLASSES, LABELS, finish, plan, wrong

from cxr_lightning.sweeps.page import write_page, write_report
from cxr_lightning.sweeps.table import read_tables

GRID = [{"model": m, "seed": s} for m in ("a", "b") for s in ("0", "1")]


def page(folder: Path) -> str:
    """The page's words, tags and pictures left out."""
    write_page(folder, read_tables(folder, with_intervals=True))
    text = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of two seeds: a with one and two mistakes of ten, b with five and six."""
    folder = tmp_path_factory.mktemp("grid")
    plan(folder, GRID, "data=folder")
    finish(folder / "model-a_seed-0", wrong(5))
    finish(folder / "model-a_seed-1", wrong(5, 9))
    finish(folder / "model-b_seed-0", wrong(0, 1, 2, 3, 5))
    finish(folder / "model-b_seed-1", wrong(0, 1, 2, 3, 4, 5))
    return folder


@pytest.fixture(scope="module")
def text(grid: Path) -> str:
    """The words of its page."""
    return page(grid)


def test_it_says_what_was_compared_and_with_what_it_may_be(text: str) -> None:
    assert "4 of 4 jobs are finished" in text
    assert "cxr-train -m data=folder" in text
    assert "2 cells with 4 runs. Each run was trained on 80 images." in text
    assert (
        "All cells were tested on the same 10 images of 10 patients (2 COVID19, 3 NORMAL, "
        "4 PNEUMONIA, 1 TUBERCULOSIS)."
    ) in text
    assert "Always answering “PNEUMONIA”, the largest class, is right in 40.0%." in text
    assert "The split is official , with split.seed 0." in text
    assert "Compare these numbers only with others on the same test images" in text


def test_the_results_are_the_table(grid: Path, text: str) -> None:
    # .9 and .8: mean .85, sd .1 / sqrt(2) = .0707. .5 and .4: mean .45.
    assert "a 2 of 2 85.0 ± 7.1% (" in text
    assert "b 2 of 2 45.0 ± 7.1% (" in text
    # PNEUMONIA has 4 images, of which each of a's seeds has 3; the film of TUBERCULOSIS is right
    # in one seed of two: .5, sd 1 / sqrt(2).
    row = text.split("a 2 of 2 85.0")[1].split("b 2 of 2 45.0", maxsplit=1)[0]
    assert re.findall(r"(\d+\.\d ± \d+\.\d%)", row)[-4:] == [
        "100.0 ± 0.0%",
        "100.0 ± 0.0%",
        "75.0 ± 0.0%",
        "50.0 ± 70.7%",
    ]
    tables = read_tables(grid, with_intervals=True)
    for texts in (tables.cell_texts, tables.job_texts):
        for row in texts.to_numpy().tolist():
            assert " ".join(row) in text


def test_effect_and_comparison_are_of_paired_images(text: str) -> None:
    assert "model: a → b 1 -40.0 (" in text
    assert "a b +40.0 (" in text
    assert "“a” and “b” cannot be distinguished with 10 test images." in text or (
        "“a” is more accurate than “b”, by 40.0 points." in text
    )


def test_the_number_of_resamples_is_the_runs(text: str) -> None:
    assert "paired bootstrap of 200 resamples of whole patients" in text


def test_table_and_page_agree_on_a_sweep_of_folds(tmp_path: Path) -> None:
    folds = [{"seed": s, "split.fold": f} for s in "01" for f in "01"]
    for job in plan(tmp_path, folds).jobs:
        fold = int(job.values["split.fold"])
        # Each seed has one fold all right, and half of the other wrong: 15 of 20, as a whole.
        called = LABELS if str(fold) == job.values["seed"] else wrong(*range(5))
        finish(tmp_path / job.name, called, first=10 * fold)
    (shown,) = read_tables(tmp_path, with_intervals=True).cell_texts["accuracy"]
    text = page(tmp_path)
    assert shown.startswith("75.0 ± 0.0% (")
    assert f"all runs 2 of 2 {shown} " in text
    assert "One cell with 4 runs." in text
    assert "All cells were tested on the same 20 images of 20 patients" in text


def test_cells_of_other_test_images_are_shown_and_not_compared(tmp_path: Path) -> None:
    plan(tmp_path, [{"data": d, "model": m} for d in ("old", "new") for m in "ab"])
    for model in "ab":
        finish(tmp_path / f"data-old_model-{model}", wrong(*([0, 1] if model == "b" else [])))
        finish(tmp_path / f"data-new_model-{model}", [0, 1, 2, 0], [0, 1, 2, 2], first=20)
    text = page(tmp_path)
    assert "old a 1 of 1 100.0% (69.2–100.0)" in text
    assert "new b 1 of 1 75.0% (" in text
    assert "“old, a” and “old, b” cannot be distinguished with 10 test images." in text
    assert "“new, a” and “new, b” cannot be distinguished with 4 test images." in text
    assert "“old, a” and “new" not in text
    assert "are not compared with each other, as a difference may come from the images" in text
    assert "“old, a”, “old, b” were tested on 10 images of 10 patients" in text
    assert "model: a → b (test set 1) 1 -20.0" in text
    assert "model: a → b (test set 2) 1 +0.0" in text
    assert "corrected by Holm's method for all 2 pairs" in text


def test_a_grid_is_sorted_by_validation_and_says_so(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": m} for m in "ab"])
    finish(tmp_path / "model-a", LABELS, validation=0.5)
    finish(tmp_path / "model-b", wrong(0, 1), validation=0.6)
    text = page(tmp_path)
    assert "b 1 of 1 60.0% (best) 80.0%" in text
    assert text.index("b 1 of 1 60.0% (best)") < text.index("a 1 of 1 50.0% 100.0%")
    assert "Choose by validation; the test numbers are for reporting." in text


def test_too_few_patients_for_any_difference_is_said(tmp_path: Path) -> None:
    # Of four patients, 2 / 2^4 = .125 is the smallest p there is.
    for n, is_said in ((4, True), (10, False)):
        folder = tmp_path / str(n)
        plan(folder, [{"model": m} for m in "ab"])
        for model in "ab":
            finish(folder / f"model-{model}", LABELS[:n], LABELS[:n])
        assert (f"With {n} test patients, no difference between" in page(folder)) == is_said


def test_a_confusion_matrix_is_a_table_of_counts_and_shares(text: str) -> None:
    # a, both seeds: image 5 (PNEUMONIA) is called TUBERCULOSIS twice, image 9 COVID19 once.
    matrix = text.split("a: rows are the true class, columns the predicted class ")[1]
    assert matrix.startswith(
        "COVID19 NORMAL PNEUMONIA TUBERCULOSIS "
        "COVID19 4 100% 0 0% 0 0% 0 0% "
        "NORMAL 0 0% 6 100% 0 0% 0 0% "
        "PNEUMONIA 0 0% 0 0% 6 75% 2 25% "
        "TUBERCULOSIS 1 50% 0 0% 0 0% 1 50% "
    )


def test_images_that_most_runs_get_wrong_are_listed_worst_first(text: str) -> None:
    listed = re.findall(r"called (\w+) \d×(?:, )? (\d) of 4 wrong (test/\d+\.png)", text)
    # Image 5 in all four runs, 0 to 3 in two; 4 and 9 in one of four, less than half.
    assert listed[0] == ("TUBERCULOSIS", "4", "test/005.png")
    assert {path for _, n, path in listed[1:] if n == "2"} == {
        f"test/{i:03d}.png" for i in (0, 1, 2, 3)
    }
    assert len(listed) == 5
    assert "Images without a picture are no longer where they were read." in text


def test_an_unfinished_sweep_has_a_report_of_what_is(tmp_path: Path) -> None:
    plan(tmp_path, GRID)
    finish(tmp_path / "model-a_seed-0", wrong(5))
    failed = tmp_path / "model-a_seed-1"
    failed.mkdir()
    (failed / "error.txt").write_text("Traceback …\nValueError: no <b>luck</b>\n")
    (tmp_path / "model-b_seed-0").mkdir()
    (tmp_path / "model-b_seed-0" / "config.yaml").write_text("{}")
    text = page(tmp_path)
    assert "1 of 4 jobs are finished" in text
    assert "model-a_seed-1 failed ValueError: no <b>luck</b>" in text  # escaped, not bold
    assert "model-b_seed-0 unfinished" in text
    assert "model-b_seed-1 waiting" in text
    assert "One cell with one run." in text
    assert "90.0%" in text


def test_one_seed_speaks_of_networks_and_asks_for_more(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    finish(tmp_path / "model-a", wrong())
    finish(tmp_path / "model-b", wrong(0, 1, 2, 3, 4, 5, 6, 7))
    text = page(tmp_path)
    # Eight images only a has right: p = 2 / 2^8 = .0078.
    assert "Of these networks, “a” is more accurate than “b”, by 80.0 points." in text
    assert "true of these networks only; whether the recipes differ takes more seeds" in text
    assert "McNemar, exact 0.008 0.008" in text


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    text = page(tmp_path)
    assert "No cell has results yet." in text
    assert "Results" not in text


def test_a_fold_alone_gives_no_result_and_that_is_said(tmp_path: Path) -> None:
    plan(tmp_path, [{"split.fold": f} for f in "012"])
    finish(tmp_path / "split.fold-0", LABELS)
    text = page(tmp_path)
    assert "No cell has results yet." in text
    assert "“all runs” is left out until all its folds and split seeds are finished: 1 of 3" in text


def test_the_report_prints_its_table_and_where_to_look(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_report(grid) == grid / "report.html"
    shown = capsys.readouterr().out
    assert "85.0 ± 7.1%" in shown
    assert f"Report:    {grid / 'report.html'} (open it in a browser)" in shown
    assert {f.name for f in grid.iterdir() if f.is_file()} == {
        *("sweep.json", "summary.csv", "summary.md", "cells.csv", "report.html")
    }


def test_drawing_leaves_the_users_backend_alone(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # to import it is an error now
    page(grid)


@pytest.mark.parametrize("data", ["phantom", "kaggle"])
def test_phantoms_are_called_so(data: str, tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", wrong(5), data=data)
    told = "Scores on phantoms only show that the pipeline works; they have no medical meaning."
    assert (told in page(tmp_path)) == (data == "phantom")


def test_class_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}])
    classes = ["<script>x</script>", r"$\frac$", "[red]|", CLASSES[3]]
    finish(tmp_path / "model-a", wrong(5), classes=classes)
    write_report(tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_what_chance_cannot_be_estimated_of_is_said(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    finish(tmp_path / "model-a", wrong())
    finish(tmp_path / "model-b", wrong())
    text = page(tmp_path)
    # Ten of ten: the exact lower limit is .025^(1/10) = .692. No resample changes an F1 of 1.
    assert "a 1 of 1 100.0% (69.2–100.0) 100.0% 100.0% 100.0% 100.0% (" in text
    assert "model: a → b 1 +0.0 (not estimable)" in text
    assert "“a” and “b” cannot be distinguished with 10 test images." in text
