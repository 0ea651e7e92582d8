"""report.html of one run: its numbers, what is missing, and names that are text."""

import html
import re
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf
from written_runs import bare_run, change, whole_run
from written_sweeps import CLASSES, LABELS, finish, plan, wrong

from cxr_lightning import report
from cxr_lightning.cards.page import write_pages
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.writing import write_text


def text_of(folder: Path) -> str:
    """The page as one line of text, as people read it."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def missing(folder: Path) -> list[str]:
    page = (folder / "report.html").read_text(encoding="utf-8")
    return re.findall(r"Missing: ([^<]*)<", page)


def test_the_headline_stands_beside_nothing(tmp_path: Path) -> None:
    text = text_of(write_pages(whole_run(tmp_path / "run")).parent)
    # 9 of 10 right; Clopper and Pearson's limits of 9/10 are .555 and .9975.
    assert "Accuracy 90.0% (55.5–99.7)" in text
    assert "on 10 test images of 10 patients (95% intervals)" in text
    # The rung with the highest accuracy is not the last one, and the network is not above it.
    assert (
        "Accuracy of “nothing (the largest class)” on the same 10 images: 40.0% (30.0–50.0); of "
        "“border alone”, the best of what is not the disease: 85.0% (75.0–95.0). This network is "
        "5.0 points above “border alone” (95% interval -10.0 to 20.0). That it has learnt more is "
        "not shown."
    ) in text


def test_each_class_has_its_numbers_with_their_own_n(tmp_path: Path) -> None:
    text = text_of(write_pages(bare_run(tmp_path)).parent)
    # COVID19: 1 of 2 found, Clopper and Pearson 1.3 to 98.7; nothing else was called COVID19.
    # NORMAL: all 3, and of 4 that were called NORMAL 3 are.
    assert re.search(r"COVID19 50\.0% \(1\.3–98\.7\) n = 2 100\.0% \([\d.]+–100\.0\) n = 8", text)
    assert re.search(r"NORMAL 100\.0% \(29\.2–100\.0\) n = 3 .* 75\.0% \(19\.4–99\.4\) n = 4", text)
    assert "COVID19 1 50% 1 50% 0 0% 0 0%" in text  # the row of the confusion matrix


def test_a_whole_run_lacks_nothing_and_shows_each_part(tmp_path: Path) -> None:
    text = text_of(write_pages(whole_run(tmp_path)).parent)
    assert missing(tmp_path) == []
    for said in (
        "One temperature, 1.500, was found on 7 validation images",
        "calibration error (ECE) 0.200 (0.100–0.300) n = 10 0.150 (0.100–0.300) n = 10",
        "there accuracy 30.0% (20.0–40.0) n = 50 90.0% (60.0–99.0) n = 10 +60.0 (40.0 to 70.0)",
        "Threshold 0.2500. By patient: sensitivity 92.3% (36/39; 79.7–97.3), specificity 55.6%",
        "FAIL: who (sensitivity at least 90%, specificity at least 70%)",
        "sex=f 6 6 75.0% (50.0–90.0) n = 6",
        "sex=m 4 4 too few patients (4) for numbers",
        "70% (95% interval 60–80%) of the heat lies in the central field",
        "(n = 9 test images; 1 of 10 maps are empty)",
        "1 of 10 test images are called wrongly",
        "COVID19 , called NORMAL with 70% test/000.png",
        "its accuracy is 60.0 points (95% interval 40.0 to 70.0) lower",
        "left out by the split 1 image",
        "Of 44 items, the run's files prove 19 and a part of 9; 16 are for people to write.",
    ):
        assert said in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 2  # the film and its heatmap
    assert 'href="external/there/metrics.json"' in page


def test_what_a_bare_run_lacks_is_said(tmp_path: Path) -> None:
    text = text_of(write_pages(bare_run(tmp_path)).parent)
    assert [sentence.split(".")[0] for sentence in missing(tmp_path)] == [
        "there is no calibration",
        "the null ladder was not computed (ladder_minutes)",
        "the network was not tested on images of another place (external)",
        "no threshold was judged",
        "the test images have no column to report by (a manifest may have view, sex, age …)",
        "where the network looks was not measured",
        "there are no heatmaps of them",
    ]
    assert "Always naming the most frequent test class is right in 40.0% of the 10 images." in text
    assert "not calibrated: there were no validation images" in text
    assert "chosen on no images" in text
    assert "It was not tested on images of another hospital" in text


def test_a_run_that_was_not_tested_has_a_page_of_what_is_there(tmp_path: Path) -> None:
    bare_run(tmp_path)
    for name in ("metrics.json", "predictions.csv"):
        (tmp_path / name).unlink()
    text = text_of(write_pages(tmp_path).parent)
    assert "The run is unfinished: it has no test numbers yet." in text
    assert missing(tmp_path).count("the run has not been tested.") == 2
    assert "Accuracy" not in text
    assert "tested weights last of epoch 2" not in text
    assert "Validation macro F1" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_run_that_has_only_begun_has_a_page_too(tmp_path: Path) -> None:
    bare_run(tmp_path)
    for name in ("metrics.json", "predictions.csv", "curves.csv", "run.json", "split.csv"):
        (tmp_path / name).unlink()
    write_pages(tmp_path)
    assert "there is no curves.csv with an epoch in it." in missing(tmp_path)
    assert "software not recorded" in text_of(tmp_path)


def test_a_ladder_that_ran_out_of_time_says_what_it_lacks(tmp_path: Path) -> None:
    whole_run(tmp_path)
    rungs = pd.read_json(tmp_path / "ladder.json", orient="records")
    rungs.head(4).to_json(tmp_path / "ladder.json", orient="records")
    write_pages(tmp_path)
    said = "the time (ladder_minutes) did not suffice for: border alone, untrained network."
    assert missing(tmp_path) == [said]


def test_names_are_text(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", 'a"b', "x|y `z`", "*t*"]
    whole_run(tmp_path, names)
    frame = pd.read_csv(tmp_path / "predictions.csv")
    frame.loc[0, "path"] = "<img src=x onerror=alert(2)>.png"
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    config = OmegaConf.load(tmp_path / "config.yaml")
    write_text(tmp_path / "config.yaml", OmegaConf.to_yaml({**config, "name": "<b>run</b>"}))
    page = write_pages(tmp_path).read_text(encoding="utf-8")
    for tag in ("<script", "<img src=x", "<b>run"):
        assert tag not in page
    text = text_of(tmp_path)
    for name in (*names, "<img src=x onerror=alert(2)>.png", "<b>run</b>"):
        assert name in text


def test_the_worst_mistakes_are_those_whose_truth_was_least_likely(tmp_path: Path) -> None:
    finish(tmp_path, wrong(0, 3))
    bare_run(tmp_path)
    finish(tmp_path, wrong(0, 3))
    change(tmp_path / "metrics.json", majority_baseline_accuracy=0.4, images_per_class={})
    frame = pd.read_csv(tmp_path / "predictions.csv")
    frame.loc[3, CLASSES] = [0.0, 0.01, 0.99, 0.0]  # the truth is NORMAL
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    text = text_of(write_pages(tmp_path).parent)
    assert text.index("test/003.png") < text.index("test/000.png")
    assert "NORMAL , called PNEUMONIA with 99%" in text
    assert "Films without a picture are no longer where they were read." in text


def report_of(**given: Path | None) -> Path:
    return report.run(OmegaConf.create({"run": None, "sweep": None, **given}))


@pytest.mark.parametrize("key", ["run", "sweep"])
def test_cxr_report_writes_the_page_of_a_run(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_of(**{key: bare_run(tmp_path)}) == tmp_path / "report.html"
    assert "Accuracy 90.0%" in text_of(tmp_path)
    assert capsys.readouterr().out.startswith(f"Report: {tmp_path / 'report.html'} (open it")


@pytest.mark.parametrize("key", ["run", "sweep"])
def test_cxr_report_writes_the_page_of_a_sweep(tmp_path: Path, key: str) -> None:
    (job,) = plan(tmp_path, [{"seed": "0"}]).jobs
    finish(tmp_path / job.name, LABELS)
    assert report_of(**{key: tmp_path}) == tmp_path / "report.html"
    assert "1 of 1 jobs are finished" in text_of(tmp_path)


def test_cxr_report_takes_one_folder_and_it_must_be_a_runs(tmp_path: Path) -> None:
    for given in ({}, {"run": tmp_path, "sweep": tmp_path}):
        with pytest.raises(ConfigError, match=r"takes one folder: run=outputs/NAME, or sweep="):
            report_of(**given)
    with pytest.raises(DataError, match=r"is not the folder of a run: it has no config\.yaml"):
        report_of(run=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    bare_run(tmp_path)
    write_text(tmp_path / "calibration.json", '{"temperature": ')
    with pytest.raises(DataError, match=r"calibration\.json is damaged"):
        write_pages(tmp_path)
