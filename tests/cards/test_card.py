"""model_card.md: right numbers, limits that follow from the run, and names that stay text."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from written_runs import bare_run, change, whole_run
from written_sweeps import CLASSES

from cxr_lightning.cards.limits import limits
from cxr_lightning.cards.page import write_pages
from cxr_lightning.cards.record import RunFiles
from cxr_lightning.pages.markdown import Markdown, escaped, table
from cxr_lightning.runs.writing import write_text


def card_of(folder: Path) -> str:
    write_pages(folder)
    return (folder / "model_card.md").read_text(encoding="utf-8")


def shown(text: str) -> str:
    """The HTML that a reader of GitHub's kind makes of Markdown."""
    return str(MarkdownIt("commonmark").enable("table").render(text))


@pytest.mark.parametrize(
    "name",
    [
        *("a|b", "`x`", "*x*", "_x_", "__x__", "<b>x</b>", "[x](http://y)", "![x](y)", "a\\|b"),
        *("&amp;", "~~x~~", "# x", "a_b", "x*", "$x$", "{x}", "a\nb", "<!-- x -->", "`|`"),
    ],
)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    plain = shown("- class " + escaped(name))
    as_html = " ".join(name.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert plain == f"<ul>\n<li>class {as_html}</li>\n</ul>\n"
    cells = shown(table(pd.DataFrame({"a": [name], "b": ["last"]})))
    in_cell = as_html.replace("a b", "a; b")  # the line break
    assert f"<td>{in_cell}</td>\n<td>last</td>" in cells
    assert cells.count("<td>") == 2


def test_markdown_that_is_meant_stays() -> None:
    assert escaped(Markdown("**a**")) == "**a**"
    assert escaped(0.5) == "0.5"


def test_the_card_has_the_runs_numbers(tmp_path: Path) -> None:
    card = card_of(whole_run(tmp_path / "mine"))
    for said in (
        "# Model card: mine",
        "**Accuracy 90.0% (55.5–99.7), balanced accuracy",
        "| accuracy | 90.0% (55.5–99.7); n = 10 | 40.0% (30.0–50.0); n = 10 | 85.0%",
        "| COVID19 | 50.0% (1.3–98.7); n = 2 |",
        "| border alone | 85.0% (75.0–95.0); n = 10 | 85.0% (75.0–95.0); n = 10 | +5.0 (-10.0 to",
        "| there | accuracy | 30.0% (20.0–40.0); n = 50 | 90.0% (60.0–99.0); n = 10 | +60.0 (40.0",
        "One temperature, 1.500, found on 7 validation images.",
        "sensitivity 92.3% (36/39; 79.7–97.3), specificity 55.6% (5/9; 26.7–81.1)",
        "- FAIL: who (sensitivity at least 90%, specificity at least 70%)",
        "| trained on | 20 COVID19, 20 NORMAL, 20 PNEUMONIA, 20 TUBERCULOSIS (80 in all); 60",
        "It is not a medical device.",
    ):
        assert said in card
    assert "Missing:" not in card


def test_the_card_says_what_is_missing(tmp_path: Path) -> None:
    card = card_of(bare_run(tmp_path))
    assert card.count("Missing:") == 5  # ladder, other hospitals, calibration, triage, subgroups


def test_the_card_of_a_run_without_a_test_has_no_numbers(tmp_path: Path) -> None:
    bare_run(tmp_path)
    (tmp_path / "metrics.json").unlink()
    card = card_of(tmp_path)
    assert "**The run is unfinished: it has no test numbers yet.**" in card
    assert "Missing: the run has not been tested." in card
    assert "accuracy |" not in card


def test_the_head_is_what_model_hubs_read(tmp_path: Path) -> None:
    card = card_of(bare_run(tmp_path))
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["pipeline_tag"] == "image-classification"
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card)
    assert read.data.library_name == "cxr-lightning"
    assert "chest-x-ray" in read.data.tags


def test_names_cannot_break_the_cards_tables(tmp_path: Path) -> None:
    names = ["a|b", "`c`", "<i>d</i>", "*e*"]
    whole_run(tmp_path, names)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    write_text(tmp_path / "config.yaml", yaml.safe_dump(config | {"name": "my <b>run</b> _x_"}))
    page = shown(card_of(tmp_path).split("---\n", 2)[2])
    assert "<h1>Model card: my &lt;b&gt;run&lt;/b&gt; _x_</h1>" in page
    assert "it names one of 4 classes (a|b, `c`, &lt;i&gt;d&lt;/i&gt;, *e*)" in page
    for markup in ("<code>c</code>", "<em>", "<i>", "<b>"):
        assert markup not in page
    sheet = shown((tmp_path / "claim.md").read_text(encoding="utf-8"))
    assert "<h1>CLAIM 2024: my &lt;b&gt;run&lt;/b&gt; _x_</h1>" in sheet
    assert sheet.count("<td>") == 6 * 44
    assert "<td>a|b</td>" in page
    assert "<td>`c`</td>" in page
    assert "<td>&lt;i&gt;d&lt;/i&gt;</td>" in page
    assert "<td>*e*</td>" in page


def test_no_place_on_this_machine_and_no_files_name_is_in_the_card(tmp_path: Path) -> None:
    whole_run(tmp_path)
    note = "No patient is known for 3 of 9 images of A, for example test/A/Doe.png: each of them "
    change(
        tmp_path / "run.json",
        images_root="/home/jane/films",
        command=["/home/jane/cxr-train", "data.root=/home/jane/films"],
        notes=[f"{note}counts as a patient of its own."],
    )
    card = card_of(tmp_path)
    for secret in ("/home", "jane", "Doe", "test/000.png"):
        assert secret not in card
    assert "folder “films”" in card
    assert "No patient is known for 3 of 9 images of A: each of them counts" in card


def with_column(folder: Path, column: str, values: list[str]) -> Path:
    frame = pd.read_csv(folder / "predictions.csv")
    frame[column] = values
    frame.to_csv(folder / "predictions.csv", index=False)
    return folder


def said(folder: Path, start: str) -> list[str]:
    return [sentence for sentence in limits(RunFiles(folder)) if sentence.startswith(start)]


def test_children_are_known_by_their_file_names(tmp_path: Path) -> None:
    bare_run(tmp_path)
    assert said(tmp_path, "Children") == []
    paths = ["a.png", "b.png", *(f"IM-000{i}-0001.jpeg" for i in range(3))]
    paths += [*(f"person{i}_virus_1.jpeg" for i in range(4)), "t.png"]
    (sentence,) = said(with_column(tmp_path, "path", paths), "Children")
    assert "the images of NORMAL and PNEUMONIA are of children aged one to five" in sentence
    assert "Those of COVID19 and TUBERCULOSIS are not" in sentence


def test_classes_that_come_from_their_own_archive_are_named(tmp_path: Path) -> None:
    bare_run(tmp_path)
    sources = ["web", "web", *["here"] * 7, "montgomery"]  # NORMAL and PNEUMONIA share one
    (sentence,) = said(with_column(tmp_path, "source", sources), "Class and source")
    assert "(COVID19 from web; TUBERCULOSIS from montgomery)" in sentence
    (sentence,) = said(with_column(tmp_path, "source", ["one"] * 10), "Class and source")
    assert "the images name one source only" in sentence
    mixed = ["a", "b", "a", "b", "a", "b", "a", "b", "a", "a"]
    assert said(with_column(tmp_path, "source", mixed), "Class and source") == []


def test_kaggles_archives_are_known(tmp_path: Path) -> None:
    (sentence,) = said(bare_run(tmp_path, CLASSES, "kaggle"), "Class and source")
    assert "in Kaggle's set each disease comes from an archive of its own" in sentence


@pytest.mark.parametrize(
    ("low", "is_told"), [(0.01, False), (0.0, True), (-0.1, True), (None, True)]
)
def test_what_is_not_shown_to_be_above_nothing_is_a_limit(
    tmp_path: Path, low: float | None, is_told: bool
) -> None:
    whole_run(tmp_path)
    frame = pd.read_json(tmp_path / "ladder.json", orient="records")
    frame.at[4, "network_minus_rung"] = {"value": 0.05, "low": low, "high": 0.2, "p": None}
    frame.to_json(tmp_path / "ladder.json", orient="records")
    assert bool(said(tmp_path, "This network is 5.0 points above “border alone”")) is is_told


def test_classes_without_test_images_are_a_limit(tmp_path: Path) -> None:
    bare_run(tmp_path)
    change(tmp_path / "metrics.json", classes_without_images=["NORMAL"])
    assert said(tmp_path, "No test image of NORMAL") != []


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        (
            "3 images outside the split folders (for example a/Doe (1).png): they train if x.",
            "3 images outside the split folders: they train if x.",
        ),
        (
            "Spelled differently, but the same patient: `Doe` = `DOE`, `b c` = `b_c`.",
            "Spelled differently, but the same patient.",
        ),
        (
            "Spelled differently, but the same class: `TB` = `tb`.",
            "Spelled differently, but the same class: `TB` = `tb`.",
        ),
        (
            "Gone since the run began: 2 test images (`Doe (1).png`, `b.png`).",
            "Gone since the run began: 2 test images.",
        ),
        (
            "Gone since the run began: 9 test images (`Doe.png` and 8 more).",
            "Gone since the run began: 9 test images.",
        ),
    ],
)
def test_notes_keep_their_sense_without_names(tmp_path: Path, note: str, kept: str) -> None:
    bare_run(tmp_path)
    change(tmp_path / "run.json", notes=[note])
    assert RunFiles(tmp_path).notes == [kept]


def test_a_part_of_the_images_is_a_limit_and_what_was_tested_is_counted(tmp_path: Path) -> None:
    bare_run(tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    config["trainer"] = {"max_epochs": 1, "limit_test_batches": 2, "limit_train_batches": 1.0}
    write_text(tmp_path / "config.yaml", yaml.safe_dump(config))
    images = {"train": {"A": 9}, "val": {"A": 5}, "test": {"A": 400}}
    change(tmp_path / "run.json", images=images, patients={"test": 300})
    assert said(tmp_path, "Only a part") == [
        "Only a part of the images was used: trainer.limit_test_batches=2."
    ]
    assert "| tested on | 2 COVID19, 3 NORMAL, 4 PNEUMONIA, 1 TUBERCULOSIS (10 in all); 10 " in (
        card_of(tmp_path)
    )


def test_unreadable_images_are_not_counted_twice(tmp_path: Path) -> None:
    bare_run(tmp_path)
    write_text(tmp_path / "split.csv", "path,split\na.png,train\nb.png,\nc.png,\nd.png,\n")
    change(tmp_path / "run.json", unreadable_images={"c.png": "broken"})
    card = card_of(tmp_path)
    assert "| left out by the split | 2 images |" in card
    assert "| unreadable | 1 image |" in card
    assert "1 image could not be read and was left out." in card


def test_a_network_that_calls_everything_one_class_is_named(tmp_path: Path) -> None:
    bare_run(tmp_path)
    assert said(tmp_path, "It calls every") == []
    with_column(tmp_path, "predicted", ["NORMAL"] * 10)
    assert len(said(tmp_path, "It calls every test image NORMAL")) == 1


@pytest.mark.parametrize(("seconds", "text"), [(11.4, "11 seconds"), (90.0, "1.5 minutes")])
def test_the_training_time_has_a_unit(tmp_path: Path, seconds: float, text: str) -> None:
    bare_run(tmp_path)
    change(tmp_path / "run.json", seconds={"fit": seconds})
    assert f"| training time | {text} |" in card_of(tmp_path)
