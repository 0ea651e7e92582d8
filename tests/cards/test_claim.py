"""The CLAIM sheet: what counts as proved, and what is left to people."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from written_runs import bare_run, change, whole_run

from cxr_lightning.cards.claim import Line, sheet
from cxr_lightning.cards.claim_items import items
from cxr_lightning.cards.page import write_pages
from cxr_lightning.cards.record import RunFiles


def lines_of(folder: Path) -> dict[int, Line]:
    write_pages(folder)
    return {line.item.number: line for line in sheet(RunFiles(folder))}


def with_status(lines: dict[int, Line], status: str) -> list[int]:
    return [number for number, line in lines.items() if line.status == status]


def test_there_are_44_items_in_order() -> None:
    listed = items()
    assert [item.number for item in listed] == list(range(1, 45))
    # The first of some sections, by the paper's Table.
    topics = {item.number: item.topic for item in listed}
    assert topics[7] == "data sources"
    assert topics[14] == "how the reference was obtained"
    assert topics[19] == "how images were partitioned"
    assert topics[22] == "the model in detail"
    assert topics[28] == "metrics"
    assert topics[33] == "test on external data"
    assert topics[35] == "how many were used and left out"
    assert topics[40] == "limits"
    assert topics[44] == "who paid, and what they decided"


def test_what_a_whole_run_proves(tmp_path: Path) -> None:
    lines = lines_of(whole_run(tmp_path))
    assert with_status(lines, "proved") == [
        *(9, 10, 12, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29),
        *(31, 32, 33, 35, 37, 38),
    ]
    assert with_status(lines, "partly, ACTION") == [7, 8, 21, 30, 36, 39, 40, 41, 42]
    assert with_status(lines, "ACTION") == [*range(1, 7), 11, *range(13, 19), 34, 43, 44]
    for line in lines.values():
        assert all((tmp_path / file).exists() for file in line.files)
        assert (line.status == "proved") is (line.action == "")


def test_each_line_says_what_its_files_say(tmp_path: Path) -> None:
    lines = lines_of(whole_run(tmp_path))
    assert lines[38].said.startswith(
        "sensitivity by class: COVID19 50.0% (1.3–98.7) (n = 2), NORMAL 100.0% (29.2–100.0) (n = 3)"
    )
    assert lines[38].files == ("metrics.json", "triage/triage.json")
    assert lines[33].said == "there: accuracy 30.0% (20.0–40.0), n = 50"
    assert lines[39].said == "1 mistake on 10 images"
    assert lines[31].said.endswith("random weights 0.10 (n = 9)")
    assert lines[10].said == "left out by the split: 1 image"
    assert "train: 80 images of 60 patients" in lines[20].said


def test_images_that_are_their_own_patients_do_not_prove_that_patients_are_kept_together(
    tmp_path: Path,
) -> None:
    whole_run(tmp_path)
    change(tmp_path / "run.json", patients={"train": 80, "test": 10})
    assert lines_of(tmp_path)[20].action.startswith("Every image counts as a patient of its own.")
    change(tmp_path / "run.json", patients={"train": 60, "test": 10}, notes=["No patient is …"])
    assert lines_of(tmp_path)[20].action.startswith("No patient is …")


def test_what_a_bare_run_cannot_prove_is_for_people(tmp_path: Path) -> None:
    lines = lines_of(bare_run(tmp_path))
    for number, says in (
        (30, "Compute the null ladder"),
        (31, "The run has no heatmaps"),
        (33, "Test it on another hospital's images"),
    ):
        assert lines[number].status == "ACTION"
        assert lines[number].action.startswith(says)


@pytest.mark.parametrize(
    ("file", "numbers"),
    [
        ("split.csv", [7, 8, 10, 19, 20, 35]),
        ("curves.csv", [25]),
        ("metrics.json", [21, 26, 27, 28, 29, 32, 37, 38, 39]),
        ("run.json", [8, 9, 12, 20, 22, 23, 24, 25, 26, 35, 36]),
    ],
)
def test_without_its_file_an_item_is_not_proved(
    tmp_path: Path, file: str, numbers: list[int]
) -> None:
    whole_run(tmp_path)
    before = lines_of(tmp_path)
    (tmp_path / file).unlink()
    after = lines_of(tmp_path)
    lost = [n for n in after if after[n].status == "ACTION" != before[n].status]
    assert lost == numbers
    assert all(after[n].action for n in lost)


def test_the_sheet_is_a_table_of_44_rows_with_visible_actions(tmp_path: Path) -> None:
    write_pages(whole_run(tmp_path))
    text = (tmp_path / "claim.md").read_text(encoding="utf-8")
    page = MarkdownIt("commonmark").enable("table").render(text)
    assert page.count("<tr>") == 1 + 44
    assert page.count("<td>") == 6 * 44
    assert page.count("<td>ACTION: ") == 16 + 9
    assert "https://doi.org/10.1148/ryai.240300" in page
    assert "prove 19 and a part of 9; 16 are for people to write" in page
