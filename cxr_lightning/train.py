"""Train, test and record one run: `cxr-train model=resnet18 augment=standard`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import TrainConfig, existing_checkpoint, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.folder import claimed, job_state, last_checkpoint, read_estimates
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

    A folder with the same run, cut off, is continued from its last complete epoch; finished, it
    is left as it is.
    """
    config = parse(TrainConfig, cfg)
    existing_checkpoint(config.ckpt_path)
    _refuse_search_of_one(config)
    with claimed(config.folder, config.model_dump(mode="json"), cfg):
        if (state := job_state(config.folder)) in ("finished", "pruned"):
            print(f"{config.folder} is {state} already: nothing to do.")
            return TrainResult(config.folder, read_estimates(config.folder))
        return _train(config)


def _refuse_search_of_one(config: TrainConfig) -> None:
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    if chosen.get("hparams_search") is not None and config.search is None:
        raise ConfigError("hparams_search=… searches with -m only: cxr-train -m hparams_search=…")


def _train(config: TrainConfig) -> TrainResult:
    # Imported here: torch and Lightning take seconds, which --help and a finished job do not cost.
    prepare()
    from pytorch_lightning import Trainer, seed_everything

    from cxr_lightning import assemble, screen
    from cxr_lightning.callbacks.curves import Curves
    from cxr_lightning.callbacks.dashboard import Dashboard
    from cxr_lightning.callbacks.metrics_file import TestResults
    from cxr_lightning.callbacks.resume import Resumable
    from cxr_lightning.callbacks.run_record import RunRecord
    from cxr_lightning.callbacks.stopwatch import Stopwatch
    from cxr_lightning.instantiate import build_all
    from cxr_lightning.runs.checkpoint_io import AtomicCheckpointIO

    assemble.check_run(config)
    assemble.check_model(config)
    callbacks, loggers = build_all(config.callbacks), build_all(config.logger)
    seed_everything(config.seed, workers=True, verbose=False)
    datamodule = assemble.build_datamodule(config)
    datamodule.setup()
    screen.print_data(datamodule)
    assemble.check_data(config, datamodule)
    classifier = assemble.build_classifier(config, datamodule)

    precision = assemble.choose_precision(config.trainer)
    has_val = len(datamodule.rows("val")) > 0
    pruning = assemble.build_pruning(config)
    results = TestResults(config.folder, config.n_resamples, config.seed)
    stopwatch, curves = Stopwatch(), Curves(config.folder)
    trainer = Trainer(
        **assemble.trainer_arguments(config.trainer, precision, config.folder),
        default_root_dir=config.folder,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            stopwatch,  # before what writes its seconds
            RunRecord(config.folder, config.seed, precision, stopwatch),
            Resumable(config.seed),
            curves,
            *pruning,
            results,
            Dashboard(
                assemble.flat_hparams(config),
                config.model_dump(mode="json"),
                datamodule.classes,
                has_val,
            ),
            *(c for c in callbacks if assemble.can_run(c, has_val, has_logger=bool(loggers))),
        ],
    )
    start = last_checkpoint(config.folder) or config.ckpt_path
    trainer.fit(classifier, datamodule=datamodule, ckpt_path=start, weights_only=True)
    if any(callback.pruned for callback in pruning):
        print(f"{config.folder} was pruned: its validation curve is hopeless.")
        return TrainResult(config.folder, {})
    checkpoint, epoch = assemble.tested_checkpoint(config, trainer)
    trainer.test(
        classifier, datamodule=datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True
    )
    results.write_metrics(
        {
            "tested": {"checkpoint": checkpoint.name if checkpoint else "last", "epoch": epoch},
            "validation": curves.at(epoch),
        }
    )
    screen.print_results(results.estimates, config.folder)
    screen.print_speed(stopwatch.summary())
    screen.print_profile(config.folder)
    screen.print_dashboard(config.folder)
    return TrainResult(config.folder, results.estimates)


def main() -> None:
    """The command `cxr-train`."""
    run_command("train", run)


if __name__ == "__main__":
    main()
