"""Train, test and record one run: `cxr-train model=resnet18 augment=standard`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import TrainConfig, existing_checkpoints, parse
from cxr_lightning.errors import ConfigError, TrainingError
from cxr_lightning.runs.folder import claimed, job_state, read_estimates
from cxr_lightning.runs.resuming import intact_checkpoint
from cxr_lightning.startup import prepare

if TYPE_CHECKING:
    from cxr_lightning.metrics import Estimate


@dataclass(frozen=True)
class TrainResult:
    """Where a run's files are, and its final test numbers by name (`test/accuracy` …)."""

    folder: Path
    metrics: "dict[str, Estimate]"


def run(cfg: DictConfig) -> TrainResult:
    """Train as `conf/train.yaml` says, test the selected checkpoint, fill `folder`.

    If the folder holds the same run, an interrupted one is continued from its last complete epoch,
    and a finished one is left as it is.
    """
    config = parse(TrainConfig, cfg)
    existing_checkpoints(config.ckpt_path)
    _refuse_search_of_one(config)
    images = lambda: _images_key(config)  # noqa: E731 (read only where it is needed)
    with claimed(config.folder, config.model_dump(mode="json"), cfg, images):
        if (state := job_state(config.folder)) in ("finished", "pruned"):
            print(f"{config.folder} is {state} already: nothing to do.")
            return TrainResult(config.folder, read_estimates(config.folder))
        return _train(config)


def _images_key(config: TrainConfig) -> str:
    from cxr_lightning.data.identity import images_key
    from cxr_lightning.data.recorded import restricted
    from cxr_lightning.data.sources import load_index
    from cxr_lightning.runs.recorded_split import read_split

    index, recorded = load_index(config.data), read_split(config.folder)
    return images_key(index if recorded is None else restricted(index, recorded))


def _refuse_search_of_one(config: TrainConfig) -> None:
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if chosen.get("hparams_search") is not None and config.search is None:
        raise ConfigError("hparams_search=… needs -m: cxr-train -m hparams_search=…")


def _train(config: TrainConfig) -> TrainResult:
    # Imported here: torch and Lightning take seconds, which --help should not cost.
    prepare()
    from pytorch_lightning import seed_everything

    from cxr_lightning import after_test, assemble, screen, trainers
    from cxr_lightning.callbacks.curves import Curves
    from cxr_lightning.callbacks.dashboard import Dashboard
    from cxr_lightning.callbacks.metrics_file import TestResults
    from cxr_lightning.callbacks.resume import Resumable
    from cxr_lightning.callbacks.run_record import RunRecord
    from cxr_lightning.callbacks.stopwatch import Stopwatch
    from cxr_lightning.instantiate import build_all
    from cxr_lightning.runs.checkpoint_io import AtomicCheckpointIO

    trainers.check_trainer(config)
    assemble.check_model(config)
    callbacks, loggers = trainers.build_callbacks(config), build_all(config.logger)
    seed_everything(config.seed, workers=True, verbose=False)
    datamodule = assemble.build_datamodule(config)
    datamodule.setup()
    screen.print_data(datamodule)
    assemble.check_data(config, datamodule)
    assemble.keep_split(config, datamodule)
    others = after_test.other_sets(config, datamodule)
    has_val = trainers.validates(config.trainer, len(datamodule.rows("val")))
    classifier = assemble.build_classifier(config, datamodule, has_val)
    pruning = trainers.build_pruning(config)
    results = TestResults(config.folder, config.n_resamples, config.seed, config.subgroups)
    stopwatch, curves = Stopwatch(), Curves(config.folder)
    record = RunRecord(config.folder, config.seed, stopwatch)
    hparams, values = assemble.flat_hparams(config), config.model_dump(mode="json")
    dashboard = Dashboard(hparams, values, datamodule.classes, has_val)
    # The stopwatch comes before what writes its seconds.
    ours = [stopwatch, record, Resumable(config.seed), curves, *pruning, results, dashboard]
    can_run = partial(trainers.can_run, config.trainer, has_val, bool(loggers))
    trainer = trainers.build_trainer(
        config.trainer,
        config.folder,
        [*ours, *filter(can_run, callbacks)],
        has_val=has_val,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
    )
    trainer.fit(
        classifier,
        datamodule=datamodule,
        ckpt_path=intact_checkpoint(config.folder),
        weights_only=True,
    )
    if trainer.global_step == 0:
        raise TrainingError(
            "The training made no step, so there is nothing to test. Check trainer.max_epochs, "
            "max_steps, max_time and limit_train_batches."
        )
    if any(callback.pruned for callback in pruning):
        print(f"{config.folder} was pruned: its validation curve is hopeless.")
        return TrainResult(config.folder, {})
    record.tested = trainers.tested_checkpoint(config, trainer, has_val)
    checkpoint, epoch = record.tested["checkpoint"], record.tested["epoch"]
    given: dict[str, Any] = {"ckpt_path": checkpoint, "verbose": False, "weights_only": True}
    validation = {} if epoch is None else curves.at(epoch)
    if epoch is None and has_val:  # of a soup
        trainer.validate(classifier, datamodule=datamodule, **given)
        validation = {name: value.item() for name, value in trainer.callback_metrics.items()}
    trainer.test(classifier, datamodule=datamodule, **given)
    screen.print_results(results.estimates, config.folder, results.subgroups)
    after_test.compare(
        config, trainer, classifier, datamodule, others=others, checkpoint=checkpoint
    )
    name = Path(checkpoint).name if checkpoint else "last"
    results.write_metrics(
        {"tested": {"checkpoint": name, "epoch": epoch}, "validation": validation}
        | (datamodule.changes.as_json() if datamodule.changes else {})
    )
    after_test.finish(config.folder, stopwatch.summary())
    return TrainResult(config.folder, results.estimates)


def main() -> None:
    """The command `cxr-train`."""
    run_command("train", run)


if __name__ == "__main__":
    main()
