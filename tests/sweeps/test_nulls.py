"""The null ladder and other hospitals' images beside a sweep's cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_sweeps import CLASSES, LABELS, finish, plan, wrong

from cxr_lightning.runs.writing import read_json, write_csv, write_json
from cxr_lightning.sweeps.page import write_report
from cxr_lightning.sweeps.table import read_tables, write_tables

FORTY = LABELS * 4


def said(called: list[int]) -> np.ndarray:
    return np.full((len(called), 4), 0.1) + 0.6 * np.eye(4)[called]


def add_ladder(folder: Path, rungs: dict[str, list[int]]) -> None:
    own = pd.read_csv(folder / "predictions.csv")[["path", "group", "label"]]
    parts = [
        own.assign(rung=name).join(pd.DataFrame(said(called), columns=CLASSES))
        for name, called in rungs.items()
    ]
    write_csv(folder / "ladder.csv", pd.concat(parts))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two cells of one seed on forty images: 4 and 20 are wrong; nothing and a border beside."""
    folder = tmp_path / "sweep"
    plan(folder, [{"model": "good"}, {"model": "poor"}])
    wrong_in = {"good": range(4), "poor": range(20)}
    for name, images in wrong_in.items():
        called = [(k + 1) % 4 if i in images else k for i, k in enumerate(FORTY)]
        finish(folder / f"model-{name}", called, FORTY, validation=0.9 if name == "good" else 0.5)
        border = [k if i >= 16 else (k + 1) % 4 for i, k in enumerate(FORTY)]
        add_ladder(folder / f"model-{name}", {"nothing": [2] * 40, "border": border})
    return folder


def test_each_cell_is_compared_with_each_rung_on_the_same_images(sweep: Path) -> None:
    (nulls,) = read_tables(sweep, with_intervals=True).nulls
    assert nulls.highest.name == "border alone"
    values = {n: {r: round(d.value, 6) for r, d in of.items()} for n, of in nulls.above.items()}
    nothing, border = 16 / 40, 24 / 40
    assert values["good"] == {
        "nothing (the largest class)": round(36 / 40 - nothing, 6),
        "border alone": round(36 / 40 - border, 6),
    }
    assert values["poor"]["border alone"] == round(20 / 40 - border, 6)
    good, poor = nulls.sentences(nulls.tested.cells)
    assert good.startswith("“good” is 30.0 points above “border alone” (95% interval ")
    assert good.endswith("It has learnt more than that.")
    assert poor.startswith("“poor” is 10.0 points below “border alone” (95% interval ")
    # The first four images of "poor" are wrong in both, four more only in the network.
    assert poor.endswith("It has learnt less than that.") or "is not shown" in poor


def test_table_summary_and_page_show_the_ladder(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(sweep)
    screen, summary = capsys.readouterr().out, (sweep / "summary.md").read_text()
    page = (sweep / "report.html").read_text()
    for text in (screen, summary, page):
        assert "border alone" in text and "60.0%" in text
        assert "How good is nothing" in text
    assert "“good” is 30.0 points above “border alone”" in " ".join(screen.split())
    assert "“poor” is 10.0 points below “border alone”" in page


def test_a_sweep_without_ladders_has_none(sweep: Path) -> None:
    for file in sweep.glob("*/ladder.csv"):
        file.unlink()
    tables = read_tables(sweep, with_intervals=True)
    assert tables.nulls == []
    write_report(sweep)
    assert "How good is nothing" not in (sweep / "report.html").read_text()


def test_a_rung_that_a_fold_lacks_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    plan(folder, [{"split.fold": "0"}, {"split.fold": "1"}])
    for fold in (0, 1):
        job = folder / f"split.fold-{fold}"
        finish(job, wrong(0, 1), first=10 * fold)
        rungs = {"nothing": [2] * 10, **({"facts": [2] * 10} if fold else {})}
        add_ladder(job, rungs)
    (nulls,) = read_tables(folder, with_intervals=True).nulls
    assert [rung.name for rung in nulls.rungs.cells] == ["nothing (the largest class)"]
    assert len(nulls.rungs.cells[0].seeds[0].labels) == 20


def test_other_hospitals_have_a_column_and_a_picture(sweep: Path) -> None:
    for name, n_right in (("good", 6), ("poor", 3)):
        at = sweep / f"model-{name}" / "external" / "nih"
        called = [k if i < n_right else (k + 1) % 4 for i, k in enumerate(LABELS)]
        finish(at, called)
        write_json(at / "metrics.json", read_json(at / "metrics.json"))
    tables = read_tables(sweep, with_intervals=True)
    assert tables.cells["external/nih/accuracy"].tolist() == [0.6, 0.3]
    assert tables.jobs["external/nih/accuracy"].tolist() == [0.6, 0.3]
    assert tables.cell_texts["accuracy on nih"][0].startswith("60.0% (")
    write_tables(sweep, tables)
    assert "external/nih/accuracy" in pd.read_csv(sweep / "summary.csv")
    write_report(sweep)
    assert "Accuracy here and on nih" in (sweep / "report.html").read_text()
