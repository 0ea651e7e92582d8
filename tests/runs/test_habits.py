"""What people do to a run: switches and transforms, moved data, other machines."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from small_runs import BARE, CHECKPOINTS_ONLY, FOLDERS, LEARNING, N_TEST, SUM_TEST, read_json

from cxr_lightning import evaluate, train, trainers
from cxr_lightning.config import TrainerConfig
from cxr_lightning.errors import ConfigError, TrainingError
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]
ONE = ["trainer.max_epochs=1", "data.batch_size=16"]


# --- Lightning's and torch's own switches --------------------------------------------------------


@pytest.mark.parametrize(
    "switch",
    [
        "+trainer.enable_progress_bar=false",
        "+trainer.enable_checkpointing=false",
        "+trainer.limit_val_batches=0",
        "+trainer.limit_test_batches=1",
        "+trainer.overfit_batches=2",
        "+trainer.max_steps=2",
        "+trainer.val_check_interval=0.5",
        "+trainer.check_val_every_n_epoch=2",
        "+trainer.num_sanity_val_steps=0",
        "+trainer.accumulate_grad_batches=2",
        "+trainer.gradient_clip_val=0.5",
        "+trainer.inference_mode=false",
        "+trainer.detect_anomaly=true",
        "+trainer.log_every_n_steps=1",
        "+trainer.enable_model_summary=true",
        "+trainer.fast_dev_run=true",
        "optim.optimizer._target_=torch.optim.RMSprop",
        "optim.optimizer._target_=torch.optim.Adadelta",
        "optim.scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 0}",
        "callbacks.progress={_target_: pytorch_lightning.callbacks.RichProgressBar}",
        "callbacks.best=null",
    ],
)
def test_a_switch_of_lightning_or_torch_works(
    switch: str, composed: Composed, settings: list[str], tmp_path: Path
) -> None:
    words = [*settings, *CHECKPOINTS_ONLY, *ONE, f"folder='{tmp_path}'", switch]
    result = train.run(composed("train", *words))
    n = 16 if "limit_test" in switch else 1 if "fast_dev_run" in switch else SUM_TEST
    if "fast_dev_run" not in switch:
        assert read_json(tmp_path / "metrics.json")["n"] == n
    assert result.metrics["test/accuracy"].value is not None


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        ("+trainer.max_steps=0", "The training made no step, so there is nothing to test"),
        ("+trainer.limit_train_batches=0", "The training made no step"),
        ("+trainer.strategy=nonsense", "Lightning's Trainer refuses these settings: "),
        ("+trainer.gradient_clip_algorithm=nonsense", "Lightning's Trainer refuses these settings"),
    ],
)
def test_a_switch_that_cannot_work_is_a_sentence(
    switch: str, said: str, composed: Composed, settings: list[str], tmp_path: Path
) -> None:
    words = [*settings, *BARE, *ONE, f"folder='{tmp_path}'", switch]
    with pytest.raises((ConfigError, TrainingError), match=said):
        train.run(composed("train", *words))


def test_a_last_batch_of_one_image_is_left_out_where_batch_norm_would_fail(
    run: Run, tmp_path: Path
) -> None:
    # 109 images: 6 batches of 18 and one. At 32 px ResNet-18's last maps have a single pixel.
    words = ["data.batch_size=18", "trainer.max_epochs=1", "model=resnet18", "seed=1"]
    run(tmp_path, *BARE, *words)
    assert sum(read_json(tmp_path / "run.json")["images"]["train"].values()) % 18 == 1
    assert pd.read_csv(tmp_path / "curves.csv")["step"].tolist() == [6]


# --- transforms ----------------------------------------------------------------------------------

V2 = "torchvision.transforms.v2"
FLOAT32 = "{_target_: hydra.utils.get_object, path: torch.float32}"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            f"{{_target_: {V2}.ToDtype, dtype: {FLOAT32}, scale: true}}",
            "augment.mine returns float32 (1, 32, 32); it must return uint8 (1, 32, 32)",
        ),
        (f"{{_target_: {V2}.Resize, size: 16}}", "augment.mine returns uint8 (1, 16, 16)"),
        (f"{{_target_: {V2}.Grayscale, num_output_channels: 3}}", "returns uint8 (3, 32, 32)"),
        (f"{{_target_: {V2}.ToPILImage}}", "augment.mine returns Image; it must return uint8"),
        (f"{{_target_: {V2}.Normalize, mean: [0.5], std: [0.5]}}", "augment.mine fails on a grey"),
        (f"{{_target_: {V2}.RandomCrop, size: 64}}", "augment.mine fails on a grey image"),
    ],
)
def test_what_a_transform_returns_is_looked_at_before_the_images(
    node: str, said: str, composed: Composed, settings: list[str], tmp_path: Path
) -> None:
    words = [*settings, *BARE, "data.root=/none", f"folder='{tmp_path}'", f"+augment.mine={node}"]
    with pytest.raises(ConfigError) as refused:
        train.run(composed("train", *words))
    assert said in str(refused.value)


# --- evaluating elsewhere ------------------------------------------------------------------------


def test_a_smoke_runs_limits_do_not_limit_its_evaluation(
    run: Run, test_of: Run, tmp_path: Path
) -> None:
    limits = [f"+trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    run(tmp_path / "smoke", *CHECKPOINTS_ONLY, "trainer.max_epochs=1", "data.batch_size=4", *limits)
    assert read_json(tmp_path / "smoke" / "metrics.json")["n"] == 4
    test_of(tmp_path / "smoke" / "checkpoints" / "last.ckpt", tmp_path / "all")
    assert read_json(tmp_path / "all" / "metrics.json")["n"] == SUM_TEST


def test_a_gpus_training_is_evaluated_where_there_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    then = TrainerConfig(max_epochs=9, accelerator="gpu", precision="16-mixed", devices=4)
    here = trainers.inherited_device(then, {"accelerator": None, "devices": None})
    assert (here.accelerator, here.precision, here.devices) == ("auto", "auto", 1)
    assert (
        "The training ran on accelerator=gpu, which this machine does not have."
        in capsys.readouterr().out
    )
    asked = trainers.inherited_device(then, {"accelerator": "cpu", "precision": "32-true"})
    assert (asked.accelerator, asked.precision) == ("cpu", "32-true")


def test_another_set_without_a_test_folder_is_tested_whole(
    trained: TrainResult,
    composed: Composed,
    write_images: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    write_images(tmp_path / "set", dict(zip(FOLDERS, N_TEST, strict=True)))
    words = [f"ckpt_path='{trained.folder / 'checkpoints' / 'best.ckpt'}'", "data=folder"]
    words += [f"data.root='{tmp_path / 'set'}'", f"folder='{tmp_path / 'out'}'"]
    evaluate.run(composed("evaluate", *words, f"data.cache_dir='{tmp_path / 'cache'}'"))
    assert read_json(tmp_path / "out" / "metrics.json")["n"] == sum(N_TEST)


# --- moved data, another precision ---------------------------------------------------------------


def test_a_moved_set_is_the_same_set_and_another_one_is_not(
    composed: Composed, write_images: Callable[..., list[str]], tmp_path: Path
) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / "set", {f"{split}/{name}": 6 for name in FOLDERS})
    words = ["data=kaggle", f"data.cache_dir='{tmp_path / 'cache'}'", "data.image_size=32"]
    words += ["trainer=cpu", "trainer.precision=32-true", "split.val_fraction=0", *ONE]
    words += [*CHECKPOINTS_ONLY, f"folder='{tmp_path / 'run'}'"]

    def start(root: str) -> TrainResult:
        return train.run(composed("train", *words, f"data.root='{tmp_path / root}'"))

    start("set")
    (tmp_path / "run" / "metrics.json").unlink()  # cut off in its test
    shutil.copytree(tmp_path / "set", tmp_path / "moved")  # other times, the same bytes
    assert start("moved").metrics["test/accuracy"].n == 24
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "moved" / "train" / "NORMAL" / "NORMAL(000).png").unlink()
    with pytest.raises(ConfigError, match=r"began with other images than there are now under"):
        start("moved")
    assert start("set").metrics["test/accuracy"].n == 24


def test_a_run_resumed_in_another_precision_says_so_and_records_both(
    composed: Composed, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*settings, *CHECKPOINTS_ONLY, *ONE, f"folder='{tmp_path}'"]
    words = [word for word in words if not word.startswith("trainer.precision")]
    for precision in ("32-true", "bf16-mixed"):  # `auto`, on a machine without bf16 and with it
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainers, "choose_precision", lambda _, chosen=precision: chosen)
            train.run(composed("train", *words, "trainer.precision=auto"))
        (tmp_path / "metrics.json").unlink(missing_ok=True)
    said = "This run began in 32-true and is resumed in bf16-mixed"
    assert said in capsys.readouterr().out
    record = read_json(tmp_path / "run.json")
    assert [one["precision"] for one in record["starts"]] == ["32-true", "bf16-mixed"]


def test_the_recorded_precision_is_the_one_that_was_used(
    composed: Composed, settings: list[str], tmp_path: Path
) -> None:
    words = [word for word in settings if not word.startswith("trainer.precision")]
    words += [*BARE, *ONE, f"folder='{tmp_path}'", "trainer.precision=16-mixed"]
    train.run(composed("train", *words))
    # Lightning 2.6 computes in bf16 where float16 was asked for on a processor.
    assert read_json(tmp_path / "run.json")["precision"] == "bf16-mixed"


# --- the screen ----------------------------------------------------------------------------------


def test_an_epoch_is_one_line_of_less_than_80_characters(
    run: Run, composed: Composed, settings: list[str], tmp_path: Path, capfd: Any
) -> None:
    words = [w for w in [*settings, *LEARNING] if "progress" not in w]
    keep = [w for w in CHECKPOINTS_ONLY if w != "callbacks.progress=null"]
    train.run(composed("train", *words, *keep, "trainer.max_epochs=2", f"folder='{tmp_path}'"))
    out, err = capfd.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("  val F1 " in line and len(line) < 80 for line in lines)
    assert "Total length of" not in out + err


def test_predictions_of_an_epoch_lie_in_one_block() -> None:
    from cxr_lightning.models.predictions import EpochPredictions

    collector = EpochPredictions(["a", "b"])
    rows = torch.arange(40)
    for some in rows.split(3):
        logits = torch.stack([some.double(), -some.double()], dim=1)
        collector.update(logits, some % 2, some, torch.tensor(0.5))
    values = collector.compute()
    assert collector.collected.rows.tolist() == list(range(40))
    assert collector.collected.labels.tolist() == [0, 1] * 20
    assert values["accuracy"] == 0.5 and values["loss"] == 0.5
    # Kept one by one, the tensors of the batches would scatter over the freed activations.
    assert [len(state) for state in (collector.rows, collector.logits)] == [1, 1]
    collector.reset()
    collector.update(torch.zeros(2, 2), torch.zeros(2).long(), torch.arange(2), torch.tensor(1.0))
    collector.compute()
    assert collector.collected.rows.tolist() == [0, 1]
