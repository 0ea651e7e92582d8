"""A run's split is part of the run: images that are added or removed later do not change it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig
from small_runs import CHECKPOINTS_ONLY, FOLDERS, read_json

from cxr_lightning import train
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.train import TrainResult

Composed = Callable[..., DictConfig]
TestOf = Callable[..., TrainResult]
ADDED = "NORMAL/a new one.png"
N, N_TEST = 120, 24  # 30 of each of four classes, one in five for the test


class Case:
    """Images without test folder, a run on them, and what people do to the images."""

    def __init__(self, folder: Path, composed: Composed) -> None:
        self.folder, self.composed = folder, composed
        self.images, self.run = folder / "images", folder / "run"
        self.checkpoint = self.run / "checkpoints" / "best.ckpt"

    def train(self, *words: str, at: str = "run") -> TrainResult:
        fixed = ["data=folder", "split=pooled", "split.val_fraction=0.2", "trainer=cpu"]
        fixed += [f"data.root='{self.images}'", f"data.cache_dir='{self.folder / 'cache'}'"]
        fixed += ["data.image_size=16", "data.num_workers=0", "trainer.precision=32-true"]
        fixed += [f"folder='{self.folder / at}'", "trainer.max_epochs=1", "n_resamples=100"]
        return train.run(self.composed("train", *fixed, *CHECKPOINTS_ONLY, *words))

    def add(self) -> None:
        shutil.copy(self.images / "NORMAL" / "NORMAL(001).png", self.images / ADDED)

    def split(self, at: str = "run") -> "pd.Series[str]":
        file = self.folder / at / "split.csv"
        recorded: pd.Series[str] = pd.read_csv(file).set_index("path")["split"]
        return recorded


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, composed: Composed, write_images: Callable[..., None]
) -> Case:
    case = Case(tmp_path_factory.mktemp("recorded"), composed)
    write_images(case.images, dict.fromkeys(FOLDERS, 30), size=16)
    case.train()
    return case


@pytest.fixture
def case(trained: Case, tmp_path: Path) -> Iterator[Case]:
    """The trained case, whose files are put back after the test."""
    shutil.copytree(trained.folder, tmp_path / "kept")
    yield trained
    shutil.rmtree(trained.folder)
    shutil.copytree(tmp_path / "kept", trained.folder)


def images_of(folder: Path) -> list[str]:
    return sorted(pd.read_csv(folder / "predictions.csv")["path"])


def test_the_split_of_every_image_is_recorded(case: Case) -> None:
    recorded, counts = case.split(), read_json(case.run / "run.json")["images"]
    assert len(recorded) == N
    for split in ("train", "val", "test"):
        assert (recorded == split).sum() == sum(counts[split].values())
    assert sorted(recorded.index[recorded == "test"]) == images_of(case.run)


def test_an_image_that_was_added_changes_no_test(
    case: Case, test_of: TestOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = test_of(case.checkpoint, tmp_path / "before")
    assert "changed_images" not in read_json(tmp_path / "before" / "metrics.json")
    case.add()
    capsys.readouterr()
    assert test_of(case.checkpoint, tmp_path / "after").metrics == before.metrics
    assert images_of(tmp_path / "after") == images_of(case.run)
    said = " ".join(capsys.readouterr().out.split())
    assert f"left out, as no subset has it: 1 image (`{ADDED}`)" in said
    found = read_json(tmp_path / "after" / "metrics.json")["changed_images"]
    assert found == {"added": {"n": 1, "first": [ADDED]}}
    # It is in no subset, and all images are all.
    test_of(case.checkpoint, tmp_path / "val", "subset=val", "thresholds=null")
    assert ADDED not in images_of(tmp_path / "val")
    assert (
        test_of(case.checkpoint, tmp_path / "all", "subset=all").metrics["test/accuracy"].n == N + 1
    )
    test_of(case.checkpoint, tmp_path / "chosen", "thresholds=val")
    n_val = (case.split() == "val").sum()
    decision = read_json(tmp_path / "chosen" / "metrics.json")["decision"]
    assert decision["chosen_on"] == {"split": "val", "n": n_val}


def test_images_that_are_gone_are_named_by_their_split(
    case: Case, test_of: TestOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = case.split()
    gone = {split: recorded.index[recorded == split][0] for split in ("train", "test")}
    for path in gone.values():
        (case.images / path).unlink()
    result = test_of(case.checkpoint, tmp_path / "out")
    assert result.metrics["test/accuracy"].n == N_TEST - 1
    assert sorted([*images_of(tmp_path / "out"), gone["test"]]) == images_of(case.run)
    said = " ".join(capsys.readouterr().out.split())
    assert f"Gone since the run began: 1 test image (`{gone['test']}`)." in said
    found = read_json(tmp_path / "out" / "metrics.json")["changed_images"]
    assert found == {"gone": {k: {"n": 1, "first": [path]} for k, path in gone.items()}}
    for path in recorded.index[recorded == "test"]:
        (case.images / path).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"no image of subset=test: nothing is tested"):
        test_of(case.checkpoint, tmp_path / "none")


def test_a_copy_of_the_images_keeps_the_split_and_other_images_do_not(
    case: Case, test_of: TestOf, tmp_path: Path, write_images: Callable[..., None]
) -> None:
    shutil.copytree(case.images, tmp_path / "copy")
    shutil.copy(case.images / "NORMAL" / "NORMAL(001).png", tmp_path / "copy" / ADDED)
    test_of(case.checkpoint, tmp_path / "here", f"data.root='{tmp_path / 'copy'}'")
    assert images_of(tmp_path / "here") == images_of(case.run)
    # The same names, other films: split as the run's configuration says, a fifth is tested.
    write_images(tmp_path / "other", dict.fromkeys(FOLDERS, 20), size=24)
    test_of(case.checkpoint, tmp_path / "there", f"data.root='{tmp_path / 'other'}'")
    assert len(images_of(tmp_path / "there")) == 16
    assert "changed_images" not in read_json(tmp_path / "there" / "metrics.json")


def test_a_run_is_resumed_on_the_images_that_it_began_with(case: Case) -> None:
    before = read_json(case.run / "metrics.json")
    (case.run / "metrics.json").unlink()  # cut off in its test
    case.add()
    case.train()
    after = read_json(case.run / "metrics.json")
    assert after.pop("changed_images") == {"added": {"n": 1, "first": [ADDED]}}
    assert after == before
    assert images_of(case.run) == sorted(case.split().index[case.split() == "test"])
    (case.run / "metrics.json").unlink()
    gone = case.split().index[case.split() == "train"][0]
    (case.images / gone).unlink()
    with pytest.raises(ConfigError) as caught:
        case.train()
    assert str(caught.value) == (
        f"The run in {case.run} began with other images than there are now under {case.images}: 1 "
        f"image gone (`{gone}`). Put them back to resume it, or choose another name=…"
    )


def test_a_run_without_a_record_says_so_if_the_number_of_images_differs(
    case: Case, test_of: TestOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (case.run / "split.csv").unlink()
    test_of(case.checkpoint, tmp_path / "same")
    assert images_of(tmp_path / "same") == images_of(case.run)
    assert "no recorded split" not in capsys.readouterr().out
    case.add()
    test_of(case.checkpoint, tmp_path / "more")
    said = " ".join(capsys.readouterr().out.split())
    assert "has no recorded split (split.csv) of the checkpoint's run." in said
    assert f"It had {N} images and now there are {N + 1}" in said


def test_a_checkpoint_that_was_moved_away_says_so_if_the_number_of_images_differs(
    case: Case, test_of: TestOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "models" / "best.ckpt"
    moved.parent.mkdir()
    shutil.copy(case.checkpoint, moved)
    case.add()
    test_of(moved, tmp_path / "out")
    said = " ".join(capsys.readouterr().out.split())
    assert f"It had {N} images and now there are {N + 1}" in said


def test_what_one_run_learnt_from_is_not_tested_with_or_after_it(
    case: Case, test_of: TestOf, tmp_path: Path
) -> None:
    case.add()
    case.train(at="later")
    first, later = case.split(), case.split("later")
    seen = [p for p in first.index[first == "test"] if later.get(p) in ("train", "val")]
    assert seen  # one image was added, and the split is another one
    files = f"['{case.checkpoint}','{case.folder / 'later/checkpoints/best.ckpt'}']"
    with pytest.raises(ConfigError, match=rf"of the {N_TEST} test images .* {len(seen)} were used"):
        test_of(case.checkpoint, tmp_path / "both", f"ckpt_path={files}")
    tests = later.index[later == "test"]
    n = sum(first.get(path) in ("train", "val") for path in tests)
    with pytest.raises(ConfigError, match=rf"was trained on {n} of the {len(tests)} images that"):
        case.train(f"ckpt_path='{case.checkpoint}'", at="started")


def test_a_damaged_record_is_an_error(case: Case, test_of: TestOf, tmp_path: Path) -> None:
    (case.run / "split.csv").write_text("")
    with pytest.raises(DataError, match=r"split\.csv is damaged: it says which images"):
        test_of(case.checkpoint, tmp_path / "out")
