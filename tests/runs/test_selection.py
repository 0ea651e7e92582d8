"""Which checkpoint is tested: the one that the callback chose, in its metric's own direction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig
from small_runs import BARE, CHECKPOINTS_ONLY, LEARNING, read_json

from cxr_lightning import trainers
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]


def choice(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(folder / "run.json")["tested"]
    return record


def test_best_is_what_the_callback_chose_whatever_its_file_is_called(
    run: Run, tmp_path: Path
) -> None:
    ruin = "optim.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 3, gamma: 100}"
    name = "callbacks.best.filename='best-{epoch}'"
    run(tmp_path, *CHECKPOINTS_ONLY, *LEARNING, "trainer.max_epochs=5", ruin, name)
    f1 = pd.read_csv(tmp_path / "curves.csv")["val/f1_macro"]
    best = int(f1.idxmax())
    assert best < 4  # the last epochs are ruined
    record = choice(tmp_path)
    assert (record["epoch"], record["monitor"]) == (best, "val/f1_macro")
    assert record["value"] == pytest.approx(f1[best])
    assert Path(record["checkpoint"]).name == f"best-epoch={best}.ckpt"
    written = read_json(tmp_path / "metrics.json")
    assert written["tested"]["epoch"] == best
    assert written["validation"]["val/f1_macro"] == pytest.approx(f1[best])


@pytest.mark.parametrize("name", ["best", "kept/{epoch}"])
def test_best_is_found_where_a_moved_run_lies_now(name: str, run: Run, tmp_path: Path) -> None:
    ruin = "optim.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 3, gamma: 100}"
    words = [*CHECKPOINTS_ONLY, *LEARNING, "trainer.max_epochs=5", ruin]
    words.append(f"callbacks.best.filename='{name}'")
    run(tmp_path / "then", *words)
    before = choice(tmp_path / "then")
    (tmp_path / "then" / "metrics.json").unlink()  # cut off in its test
    (tmp_path / "then").rename(tmp_path / "now")
    run(tmp_path / "now", *words)
    after = choice(tmp_path / "now")
    assert before["epoch"] < 4  # the last epochs are ruined
    kept = Path(before["checkpoint"]).relative_to(tmp_path / "then")
    assert Path(after["checkpoint"]) == tmp_path / "now" / kept
    assert after | {"checkpoint": None} == before | {"checkpoint": None}


@pytest.mark.parametrize(("monitor", "best"), [("val/loss", "idxmin"), ("val/accuracy", "idxmax")])
def test_a_monitored_metric_has_one_direction(
    monitor: str, best: str, run: Run, tmp_path: Path
) -> None:
    run(tmp_path, *CHECKPOINTS_ONLY, *LEARNING, f"callbacks.best.monitor={monitor}")
    curve = pd.read_csv(tmp_path / "curves.csv")[monitor]
    assert choice(tmp_path)["epoch"] == getattr(curve, best)()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["callbacks.best.monitor=val/loss", "+callbacks.best.mode=max"],
            "callbacks.best.mode=max would keep the worst value of val/loss. Leave mode out: it "
            "follows from the metric.",
        ),
        (
            ["callbacks.early_stopping.monitor=val/f1"],
            "callbacks.early_stopping.monitor=val/f1: no such metric is logged; did you mean "
            "`val/f1_macro`?",
        ),
        (
            ["callbacks.best.monitor=val/recall/TB"],
            "callbacks.best.monitor=val/recall/TB: no such metric is logged; did you mean "
            "`val/recall/NORMAL`?",
        ),
        (["callbacks.best.monitor=test/loss"], "callbacks.best.monitor=test/loss: no such metric"),
    ],
)
def test_what_cannot_be_monitored_is_refused_before_training(
    words: list[str], said: str, composed: Composed
) -> None:
    config = parse(TrainConfig, composed("train", "data=kaggle", "data.root=/none", *words))
    with pytest.raises(ConfigError) as refused:
        trainers.build_callbacks(config)
    assert str(refused.value).startswith(said)


def test_a_metric_of_one_class_can_be_monitored(composed: Composed) -> None:
    words = ["data=kaggle", "data.root=/none", "callbacks.best.monitor=val/recall/TUBERCULOSIS"]
    best = trainers.build_callbacks(parse(TrainConfig, composed("train", *words)))[0]
    assert (best.monitor, best.mode) == ("val/recall/TUBERCULOSIS", "max")  # type: ignore[attr-defined]


def test_without_a_choice_the_last_weights_are_tested_and_that_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, *BARE, "trainer.max_epochs=1", "data.batch_size=16")
    assert choice(tmp_path) == {"checkpoint": None, "epoch": 0}
    said = "No checkpoint was chosen on the validation images: the last weights are tested."
    assert said in capsys.readouterr().out
