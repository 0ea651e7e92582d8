"""`cxr-triage` on written predictions: the threshold, its films, its cautions and its page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from cxr_lightning import triage
from cxr_lightning.decisions.calibration import tempered
from cxr_lightning.decisions.judged import Judged
from cxr_lightning.errors import ConfigError, DataError

CLASSES = ["NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
Composed = Callable[..., DictConfig]


def predictions(file: Path, cases: list[float], others: list[float], **more: Any) -> Path:
    """One film a patient; the numbers are the probabilities of tuberculosis."""
    score = np.array([*cases, *others])
    labels = ["TUBERCULOSIS"] * len(cases) + ["NORMAL"] * len(others)
    names = [f"{file.stem}{i}" for i in range(len(score))]
    frame = pd.DataFrame({"path": names, "group": names, "label": labels, "predicted": labels})
    frame = frame.assign(NORMAL=(1 - score) / 2, PNEUMONIA=(1 - score) / 2, TUBERCULOSIS=score)
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.assign(source="here", **more).to_csv(file, index=False)
    return file


@pytest.fixture
def judged(composed: Composed, tmp_path: Path) -> Callable[..., Judged]:
    def start(*words: str) -> Judged:
        return triage.run(composed("triage", f"folder='{tmp_path / 'out'}'", *words))

    return start


GIVEN = ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.05], [0.2, 0.1, 0.02, 0.01, 0.6])


def test_a_threshold_of_some_films_is_judged_on_others(
    judged: Callable[..., Judged], tmp_path: Path
) -> None:
    given = predictions(tmp_path / "given.csv", *GIVEN)
    test = predictions(tmp_path / "test.csv", [0.9] * 40, [0.1] * 90 + [0.4] * 10)
    found = judged(f"calibration='{given}'", f"test='{test}'")
    assert found.threshold == pytest.approx((0.25 + 0.2) / 2)
    assert found.found_on is not None and found.found_on.sensitivity.hits == 9
    assert (found.patients.sensitivity.hits, found.patients.specificity.hits) == (40, 90)
    assert found.verdicts == {"who_2014_triage_test": "PASS"}
    content = json.loads((tmp_path / "out" / "triage.json").read_text())
    assert content["cases_needed"][:2] == [{"missed": 0, "cases": 40}, {"missed": 1, "cases": 53}]
    assert content["screening"]["0.01"]["missed"][0] == 0
    page = (tmp_path / "out" / "triage.html").read_text()
    assert "PASS" in page and "Ages are not known" in page and "Decision curve" in page


def test_a_run_gives_both_and_its_temperature(
    judged: Callable[..., Judged], tmp_path: Path
) -> None:
    predictions(tmp_path / "run" / "predictions-val.csv", *GIVEN)
    test = predictions(tmp_path / "run" / "predictions.csv", [0.3] * 5, [0.1] * 20)
    (tmp_path / "run" / "calibration.json").write_text('{"temperature": 2.0}')
    found = judged(f"run='{tmp_path / 'run'}'")
    p = pd.read_csv(test)[CLASSES].to_numpy()
    np.testing.assert_allclose(found.tests["score"], tempered(p, 2.0)[:, 2])
    assert found.temperature == 2.0


def test_a_frozen_threshold_needs_no_films_that_gave_it(
    judged: Callable[..., Judged], tmp_path: Path
) -> None:
    test = predictions(tmp_path / "test.csv", [0.9, 0.3], [0.1, 0.5])
    found = judged(f"test='{test}'", "threshold=0.4", "screening_profiles=true")
    assert found.found_on is None and found.threshold == 0.4
    assert (found.films.sensitivity.hits, found.films.specificity.hits) == (1, 1)
    assert len(found.verdicts) == 4
    assert "secondary source only" in (tmp_path / "out" / "triage.html").read_text()


def test_people_under_fifteen_are_left_out(judged: Callable[..., Judged], tmp_path: Path) -> None:
    ages = ["040Y", "014Y", "30", "8", "", "15"]
    test = predictions(tmp_path / "test.csv", [0.9] * 3, [0.1] * 3, age=ages)
    found = judged(f"test='{test}'", "threshold=0.4")
    assert len(found.tests) == 4
    assert any(c.startswith("2 films of people under 15 are left out") for c in found.cautions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": [f"train/NORMAL/IM-0{i}-0001.jpeg" for i in range(100, 110)]}, "are of children"),
        ({"source": ["archive"] * 5 + ["hospital"] * 5}, "come from another archive (archive)"),
    ],
)
def test_a_threshold_that_means_nothing_for_adults_says_so_first(
    change: dict[str, list[str]], words: str, judged: Callable[..., Judged], tmp_path: Path
) -> None:
    test = predictions(tmp_path / "test.csv", [0.9] * 5, [0.1] * 5)
    pd.read_csv(test).assign(**change).to_csv(test, index=False)
    found = judged(f"test='{test}'", "threshold=0.4")
    assert words in found.cautions[0]
    page = (tmp_path / "out" / "triage.html").read_text()
    assert page.index(words) < page.index("The threshold</h2>")


def test_subgroups_have_the_lowest_sensitivity_first(
    judged: Callable[..., Judged], tmp_path: Path
) -> None:
    view = (["ap", "pa"] * 20)[:40]
    score = [0.9 if v == "pa" or i < 10 else 0.1 for i, v in enumerate(view)]
    test = predictions(tmp_path / "test.csv", score, [0.1] * 40, view=[*view, *view])
    found = judged(f"test='{test}'", "threshold=0.4")
    assert found.strata["subgroup"].tolist() == ["view=ap", "view=pa"]
    assert found.strata["sensitivity"][0].startswith("25.0% (5/20; ")


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ([], ConfigError, "needs run=outputs/NAME; or"),
        (["run=/none"], DataError, "has no predictions of validation films"),
        (["test='{test}'", "calibration='{test}'"], DataError, "patients are in both"),
        (["test='{test}'", "threshold=0.4", "target=TB"], ConfigError, "target=TB is no class"),
        (["test='{other}'", "threshold=0.4"], DataError, "has no column `group`"),
        (["test=/none.csv", "threshold=0.4"], DataError, "no such file"),
    ],
)
def test_what_cannot_be_judged_is_said(
    words: list[str],
    error: type[Exception],
    sentence: str,
    judged: Callable[..., Judged],
    tmp_path: Path,
) -> None:
    test = predictions(tmp_path / "test.csv", [0.9] * 5, [0.1] * 5)
    other = tmp_path / "other.csv"
    pd.read_csv(test).drop(columns="group").to_csv(other, index=False)
    with pytest.raises(error, match=sentence):
        judged(*(word.format(test=test, other=other) for word in words))
