"""Test a checkpoint on its own test images or on others: `cxr-evaluate ckpt_path=…`."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import (
    DataConfig,
    EvaluateConfig,
    SplitConfig,
    TrainConfig,
    existing_checkpoints,
    parse,
)
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.startup import prepare

if TYPE_CHECKING:
    import pandas as pd
    from pytorch_lightning import Trainer

    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.external import Drop
    from cxr_lightning.models.classifier import Classifier
    from cxr_lightning.models.predictions import Predictions
    from cxr_lightning.train import TrainResult


def run(cfg: DictConfig) -> "TrainResult":
    """Test a checkpoint as `conf/evaluate.yaml` says and write the files of a run's test.

    With `ckpt_path` alone, the images, batches and precision are those of the training run, and so
    are the numbers.
    """
    config = parse(EvaluateConfig, cfg)
    checkpoints = existing_checkpoints(config.ckpt_path)
    config.folder.mkdir(parents=True, exist_ok=True)
    prepare()
    from cxr_lightning import after_test, screen, trainers
    from cxr_lightning.callbacks.epoch_lines import EpochLines
    from cxr_lightning.callbacks.figures import ConfusionMatrixFigure, WorstMistakesFigure
    from cxr_lightning.callbacks.metrics_file import TestResults
    from cxr_lightning.callbacks.run_record import RunRecord
    from cxr_lightning.callbacks.stopwatch import Stopwatch
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.decisions.choice import decide
    from cxr_lightning.subgroups import check_columns
    from cxr_lightning.train import TrainResult
    from cxr_lightning.trained import deciding, load_ensemble, recorded_split

    own_images = "name" not in config.data
    on_val = "val" in (config.tau, config.thresholds)
    if on_val and own_images and config.subset != "test":
        raise ConfigError(
            f"tau=val and thresholds=val are chosen on validation images, which subset="
            f"{config.subset} would test again. Leave subset out."
        )
    with_val = on_val or config.subset != "test"
    same = partial(deciding, with_val=with_val) if own_images or on_val else lambda split: ()
    classifier = load_ensemble(checkpoints, config, same, _unseen(config))
    trained = parse(TrainConfig, classifier.hparams["run"])

    recorded = recorded_split(checkpoints[0], classifier)
    datamodule = _opened(config, trained, classifier, checkpoints[0], recorded)
    is_another_set = not own_images and config.subset == "test"
    trainer_config = trainers.inherited_device(trained.trainer, config.trainer)

    check_columns([datamodule.table], config.subgroups)
    results = TestResults(config.folder, config.n_resamples, trained.seed, config.subgroups)
    stopwatch = Stopwatch()
    callbacks = [stopwatch, RunRecord(config.folder, trained.seed, stopwatch), results]
    callbacks += [ConfusionMatrixFigure(), WorstMistakesFigure(), EpochLines()]
    trainer = trainers.build_trainer(trainer_config, config.folder, callbacks, logger=False)
    of_run = datamodule.data if own_images else _at_hand(trained.data, datamodule.data)
    kept = datamodule.recorded if own_images else recorded
    own = XrayDataModule(of_run, trained.split, recorded=kept)
    validation = _validation(trainer, classifier, own) if on_val else None
    chosen = decide(classifier, config.tau, config.thresholds, validation)
    trainer.test(classifier, datamodule=datamodule, verbose=False)
    lost = {}
    if is_another_set and len(checkpoints) == 1 and config.tta == "none" and not chosen:
        given = (checkpoints[0], datamodule, config.n_resamples)
        lost = after_test.lost_elsewhere(classifier, *given)
    results.write_metrics(_found(chosen, lost, datamodule))
    screen.print_results(results.estimates, config.folder, results.subgroups)
    if lost:
        screen.print_drops(datamodule.index.root.name, lost)
    screen.print_profile(config.folder)
    return TrainResult(config.folder, results.estimates)


def _opened(
    config: EvaluateConfig,
    trained: TrainConfig,
    classifier: "Classifier",
    checkpoint: Path,
    recorded: "pd.Series[str] | None",
) -> "XrayDataModule":
    """The images to test, split, and shown on the screen; the run's own keep the recorded split."""
    from cxr_lightning import screen
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.trained import as_trained, check_classes, is_of_run, say_if_changed

    classes: list[str] = classifier.hparams["classes"]
    data, split = _images(config, trained)
    data = as_trained(data, trained.data, classes)
    run = checkpoint.parent.parent
    is_own = "name" not in config.data and split == trained.split
    is_own = is_own and is_of_run(data, trained.data, run, recorded)
    drawn = None if config.subset == "all" else split
    datamodule = XrayDataModule(data, drawn, recorded=recorded if is_own else None)
    if config.subset != "all":
        datamodule.tested_split = config.subset
    datamodule.prepare_data()
    if "name" in config.data and config.subset == "test" and "name" not in config.split:
        datamodule.test_all_without_test_folder()
    datamodule.setup()
    if is_own and recorded is None and drawn is not None:
        say_if_changed(datamodule, classifier, run)
    screen.print_data(datamodule)
    check_classes(datamodule, classes, checkpoint)
    if not len(datamodule.rows(datamodule.tested_split)):
        where = datamodule.index.root
        raise DataError(f"{where} has no image of subset={config.subset}: nothing is tested.")
    return datamodule


def _unseen(config: EvaluateConfig) -> list[str]:
    """The subsets of the first run that no other checkpoint of an average may have learnt from."""
    tested = {config.subset} & {"val", "test"} if "name" not in config.data else set()
    return sorted(tested | ({"val"} if "val" in (config.tau, config.thresholds) else set()))


def _found(
    decision: dict[str, Any], lost: "dict[str, Drop]", tested: "XrayDataModule"
) -> dict[str, Any]:
    """What metrics.json has besides metrics."""
    about: dict[str, Any] = tested.changes.as_json() if tested.changes else {}
    about |= {"decision": decision} if decision else {}
    return about | ({"lost": {k: asdict(drop) for k, drop in lost.items()}} if lost else {})


def _images(config: EvaluateConfig, trained: TrainConfig) -> tuple[DataConfig, SplitConfig]:
    """Which images are read, and how they are split."""
    then = trained.data.model_dump() | {"download": False}  # a checkpoint fetches nothing
    data = parse(DataConfig, _overlay(then, config.data))
    split = parse(SplitConfig, _overlay(trained.split.model_dump(), config.split))
    if "name" in config.data and config.subset == "test":
        # Nothing is trained on it, and it may have too few patients to set some aside.
        split = split.model_copy(update={"val_fraction": 0.0})
        if "name" not in config.split:  # else, after a pooled training, a fifth is tested
            split = split.model_copy(update={"name": "official"})
    return data, split


def _at_hand(trained: DataConfig, given: DataConfig) -> DataConfig:
    """The training's images, read as this machine reads others: its cache, its batches."""
    here = {k: getattr(given, k) for k in ("cache_dir", "batch_size", "num_workers")}
    return trained.model_copy(update={**here, "download": False})


def _validation(
    trainer: "Trainer", classifier: "Classifier", own: "XrayDataModule"
) -> "Predictions | None":
    """What the network says of the validation images of its own run; None if it had none."""
    own.setup()
    if not len(own.rows("val")):
        return None
    trainer.validate(classifier, datamodule=own, verbose=False)
    return classifier.predictions["val"]


def _overlay(trained: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The training run's values, or the chosen group's; then what the command line sets."""
    return ({} if "name" in given else trained) | {
        key: value for key, value in given.items() if value is not None
    }


def main() -> None:
    """The command `cxr-evaluate`."""
    run_command("evaluate", run)


if __name__ == "__main__":
    main()
