"""A run's ladder, its test on other hospitals' images, and subgroups, as whole runs leave them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import ALL_TRAIN, FOLDERS, SHORT, SUM_TEST, read_json

from cxr_lightning import after_test
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.metrics import compute_metrics
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]) -> Path:
    """Films of another place, of two classes, with their view; no split is said."""
    root = tmp_path_factory.mktemp("elsewhere") / "other"
    paths = write_images(root, {name: 12 for name in FOLDERS[:2]})
    lines = [f"{p},{Path(p).parent.name},{'pa' if i % 2 else 'ap'}" for i, p in enumerate(paths)]
    (root / "manifest.csv").write_text("\n".join(["path,label,view", *lines]))
    return root


@pytest.fixture(scope="module")
def tested(
    run: Run, other: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, str]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return run(folder, *SHORT, "ladder_minutes=5", f"external=['{other}/manifest.csv']"), ""


def test_the_other_images_are_tested_and_choose_nothing(
    tested: tuple[TrainResult, str], other: Path
) -> None:
    folder = tested[0].folder
    there = read_json(folder / "external" / "other" / "metrics.json")
    assert there["n"] == 24 and there["classes_without_images"] == ["PNEUMONIA", "TUBERCULOSIS"]
    frame = pd.read_csv(folder / "external" / "other" / "predictions.csv")
    assert set(frame["path"]) == {p.relative_to(other).as_posix() for p in other.glob("*/*.png")}
    hits = (frame["label"] == frame["predicted"]).mean()
    assert there["metrics"]["test/accuracy"]["value"] == pytest.approx(hits)
    assert read_json(folder / "metrics.json")["n"] == SUM_TEST
    assert len(pd.read_csv(folder / "predictions.csv")) == SUM_TEST


def test_the_drop_is_between_films_of_the_same_classes(tested: tuple[TrainResult, str]) -> None:
    folder = tested[0].folder
    lost = read_json(folder / "external" / "other" / "metrics.json")["lost"]["accuracy"]
    own = pd.read_csv(folder / "predictions.csv")
    own = own[own["label"].isin(["COVID19", "NORMAL"])]
    value = (own["label"] == own["predicted"]).mean()
    assert lost["internal"]["value"] == pytest.approx(value) and lost["internal"]["n"] == len(own)
    there = lost["external"]["value"]
    assert lost["difference"]["value"] == pytest.approx(value - there)


def test_subgroups_are_written_for_the_set_that_has_the_column(
    tested: tuple[TrainResult, str],
) -> None:
    folder = tested[0].folder
    found = pd.read_csv(folder / "external" / "other" / "subgroups.csv")
    assert set(found["stratum"]) == {"ap", "pa"} and found["n"].tolist() == [12, 12]
    assert found["accuracy"].is_monotonic_increasing
    assert not (folder / "subgroups.csv").exists()


def test_the_ladder_lies_beside_the_predictions(
    tested: tuple[TrainResult, str],
) -> None:
    folder, classes = tested[0].folder, ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
    rungs = {one["rung"]: one for one in read_json(folder / "ladder.json")}
    said = pd.read_csv(folder / "ladder.csv")
    own = pd.read_csv(folder / "predictions.csv").set_index("path")
    assert list(rungs) == list(dict.fromkeys(said["rung"])) and len(rungs) == 6
    accuracy = (own["label"] == own["predicted"]).mean()
    for name, frame in said.groupby("rung"):
        assert set(frame["path"]) == set(own.index)
        labels = frame["label"].map({k: i for i, k in enumerate(classes)}).to_numpy()
        values = compute_metrics(labels, frame[classes].to_numpy(), classes)
        metrics = rungs[str(name)]["metrics"]
        assert metrics["accuracy"]["value"] == pytest.approx(values["accuracy"][0])
        difference = rungs[str(name)]["network_minus_rung"]["value"]
        assert difference == pytest.approx(accuracy - values["accuracy"][0])
    assert rungs["nothing"]["metrics"]["accuracy"]["value"] == pytest.approx(8 / SUM_TEST)


def test_the_screen_says_how_good_nothing_is_and_what_is_lost(
    run: Run, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", *SHORT, *ALL_TRAIN, "ladder_minutes=5", f"external=['{other}']")
    out = " ".join(capsys.readouterr().out.split())
    assert "How good is nothing: " in out and "This network is " in out
    assert "other images: other" in out and "own test images" in out


def test_evaluation_on_another_set_shows_what_is_lost(
    tested: tuple[TrainResult, str], test_of: Run, other: Path, tmp_path: Path
) -> None:
    folder = tested[0].folder
    given = ["data=folder", f"data.manifest='{other}/manifest.csv'", "subgroups=[view]"]
    test_of(folder / "checkpoints" / "best.ckpt", tmp_path / "a", *given)
    found = read_json(tmp_path / "a" / "metrics.json")
    there = read_json(folder / "external" / "other" / "metrics.json")
    assert found["lost"] == there["lost"] and found["metrics"] == there["metrics"]
    # The run tested best.ckpt, so nothing is known of what another checkpoint reaches there.
    test_of(folder / "checkpoints" / "last.ckpt", tmp_path / "b", *given)
    assert "lost" not in read_json(tmp_path / "b" / "metrics.json")


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        (["external=[/no/such/folder]"], DataError, "the folder does not exist"),
        (["external=['{images}']"], DataError, "belong to the run's own data"),
        (["external=['{other}','{other}']"], ConfigError, "two sets are called `other`"),
        (["external=['{other}']", "subgroups=[view]"], ConfigError, "no column `view`"),
    ],
)
def test_a_wrong_set_is_refused_before_any_training(
    keys: list[str],
    error: type[Exception],
    words: str,
    run: Run,
    images: Path,
    other: Path,
    tmp_path: Path,
) -> None:
    filled = [key.format(images=images, other=other) for key in keys]
    with pytest.raises(error, match=words):
        run(tmp_path / "run", *SHORT, *filled)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_ladder_that_fails_costs_no_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*given: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/films/a.png")

    monkeypatch.setattr(after_test, "ladder_of", gone)
    run(tmp_path / "run", *SHORT, "ladder_minutes=5")
    assert "The null ladder cannot be computed: " in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.json").exists()


def test_two_sets_of_one_name_can_be_named(run: Run, other: Path, tmp_path: Path) -> None:
    sets = f"external=[{{name:a,root:'{other}'}},{{name:b,manifest:'{other}/manifest.csv'}}]"
    run(tmp_path / "run", *SHORT, sets)
    accuracies = {
        name: read_json(tmp_path / "run" / "external" / name / "metrics.json")["metrics"]
        for name in ("a", "b")
    }
    assert accuracies["a"]["test/accuracy"] == accuracies["b"]["test/accuracy"]
    assert np.isfinite(accuracies["a"]["test/accuracy"]["value"])
