"""What report.html says of sweeps that are finished, are not, or cannot be compared."""

import html
import re
from pathlib import Path

import pytest
from written_sweeps import CLASSES, LABELS, finish, plan

from cxr_lightning.sweeps.page import write_html
from cxr_lightning.sweeps.table import summarise

GRID = [{"model": m, "seed": s} for m in ("a", "b") for s in ("0", "1")]


def page(folder: Path) -> str:
    """The page's words, tags and pictures left out."""
    write_html(folder, summarise(folder))
    text = (folder / "report.html").read_text()
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


def wrong(*images: int) -> list[int]:
    """What a network calls the ten images that has these wrong: the class after the true one."""
    return [(k + 1) % 4 if i in images else k for i, k in enumerate(LABELS)]


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two cells of two seeds: a with one and two mistakes of ten, b with five and six."""
    plan(tmp_path, GRID, "data=folder")
    finish(tmp_path / "model-a_seed-0", wrong(5))
    finish(tmp_path / "model-a_seed-1", wrong(5, 9))
    finish(tmp_path / "model-b_seed-0", wrong(0, 1, 2, 3, 5))
    finish(tmp_path / "model-b_seed-1", wrong(0, 1, 2, 3, 4, 5))
    return tmp_path


def test_it_says_what_was_compared_and_with_what_it_may_be(grid: Path) -> None:
    text = page(grid)
    assert "4 of 4 jobs finished" in text
    assert "cxr-train -m data=folder" in text
    assert "2 cells, 4 runs, all tested on the same 10 images of 10 patients" in text
    assert "2 COVID19, 3 NORMAL, 4 PNEUMONIA, 1 TUBERCULOSIS" in text
    assert "Always answering “PNEUMONIA” is right in 40.0%." in text
    assert "Trained on 80 images" in text
    assert "Split official , split.seed 0." in text
    assert "may be compared with others on these test images only" in text


def test_the_grid_has_mean_and_spread_of_each_cell(grid: Path) -> None:
    text = page(grid)
    # .9 and .8: mean .85, sd .1 / sqrt(2) = .0707. .5 and .4: mean .45.
    assert "a 2 85.0% ± 7.1% (" in text
    assert "b 2 45.0% ± 7.1% (" in text
    # PNEUMONIA has 4 images, of which each of a's seeds has 3; the film of TUBERCULOSIS is right
    # in one seed of two: .5, sd 1 / sqrt(2).
    row = text.split("a 2 85.0%")[1].split("b 2 45.0%")[0]
    assert re.findall(r"(\d+\.\d% ± \d+\.\d%) \(", row)[-4:] == [
        "100.0% ± 0.0%",
        "100.0% ± 0.0%",
        "75.0% ± 0.0%",
        "50.0% ± 70.7%",
    ]


def test_effect_and_comparison_are_of_paired_images(grid: Path) -> None:
    text = page(grid)
    assert "model a → b 1 -40.0 (" in text
    # Seed 0: a alone has images 0 to 3 right, b alone none: p = 2 / 2^4 = .125.
    assert "seed 0: 4 to 0, p 0.125" in text
    # Seed 1: a alone 0 to 4, b alone 9: p = 2 * (1 + 6) / 2^6 = .219.
    assert "seed 1: 5 to 1, p 0.219" in text


def test_images_that_most_runs_get_wrong_are_listed_worst_first(grid: Path) -> None:
    text = page(grid)
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
    assert "1 of 4 jobs finished" in text
    assert "model-a_seed-1 failed ValueError: no <b>luck</b>" in text  # escaped, not bold
    assert "model-b_seed-0 unfinished" in text
    assert "model-b_seed-1 waiting" in text
    assert "1 cells, 1 runs" in text
    assert "90.0%" in text


def test_one_seed_speaks_of_networks_and_asks_for_more(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    finish(tmp_path / "model-a", wrong())
    finish(tmp_path / "model-b", wrong(0, 1, 2, 3, 4, 5, 6, 7))
    text = page(tmp_path)
    # Eight images only a has right: p = 2 / 2^8 = .0078.
    assert "of these networks, “a” is more accurate than “b”, by 80.0 points." in text
    assert "Whether the recipes differ takes more seeds" in text
    assert "0.008" in text


def test_nothing_finished_and_nothing_comparable_is_said(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    assert "No job is finished yet." in page(tmp_path)
    finish(tmp_path / "model-a", wrong())
    finish(tmp_path / "model-b", LABELS[:9], LABELS[:9])
    text = page(tmp_path)
    assert "The jobs were tested on different images or classes (10 in the first, 9 in b" in text
    assert "The grid" not in text


@pytest.mark.parametrize("data", ["phantom", "kaggle"])
def test_phantoms_are_called_so(data: str, tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", wrong(5), data=data)
    assert ("The images are phantoms" in page(tmp_path)) == (data == "phantom")


def test_class_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}])
    finish(tmp_path / "model-a", wrong(5), classes=["<script>x</script>", *CLASSES[1:]])
    write_html(tmp_path, summarise(tmp_path))
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_what_chance_cannot_be_estimated_of_is_said(tmp_path: Path) -> None:
    plan(tmp_path, [{"model": "a"}, {"model": "b"}])
    finish(tmp_path / "model-a", wrong())
    finish(tmp_path / "model-b", wrong())
    text = page(tmp_path)
    # Ten of ten: the exact lower limit is .025^(1/10) = .692. No resample changes an F1 of 1.
    assert "a 1 100.0% (69.2 to 100.0) 100.0% (not estimable)" in text
    assert "model a → b 1 +0.0 (not estimable)" in text
    assert "“a” and “b”: not distinguishable at n = 10." in text
