"""What a run does once its network is tested: calibration, the null ladder, other hospitals."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning import external, screen, trainers
from cxr_lightning.audit.ladder import ladder_of
from cxr_lightning.callbacks.epoch_lines import EpochLines
from cxr_lightning.callbacks.figures import (
    ConfusionMatrixFigure,
    WorstMistakesFigure,
    add_figure,
    draw_reliability,
)
from cxr_lightning.callbacks.metrics_file import TestResults, predictions_table
from cxr_lightning.cards.page import print_pages, write_pages
from cxr_lightning.config import TrainConfig
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.decisions.calibration import (
    fit_temperature,
    reliability,
    scores,
    tempered,
)
from cxr_lightning.errors import DataError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.predictions import Predictions
from cxr_lightning.runs.checkpoint_io import AtomicCheckpointIO
from cxr_lightning.runs.writing import write_csv, write_json
from cxr_lightning.subgroups import check_columns

LADDER = "ladder"


def other_sets(config: TrainConfig, own: XrayDataModule) -> dict[str, XrayDataModule]:
    """The sets of `external`, opened before any training; raises as `external.open_sets`.

    And `ConfigError` for `subgroups` that no set has.
    """
    others = external.open_sets(config, own)
    check_columns([own.table, *(other.table for other in others.values())], config.subgroups)
    return others


def compare(
    config: TrainConfig,
    trainer: Trainer,
    classifier: Classifier,
    datamodule: XrayDataModule,
    *,
    others: dict[str, XrayDataModule],
    checkpoint: str | None,
) -> None:
    """All of it, of a network that has just been tested on its own images.

    checkpoint: the file that was tested; None: the last weights.
    """
    tested = classifier.predictions["test"]
    calibrate(config, trainer, classifier, datamodule, checkpoint)
    place_on_ladder(config, datamodule, tested)
    test_elsewhere(config, classifier, datamodule, others, tests_of(datamodule, tested))


def calibrate(
    config: TrainConfig,
    trainer: Trainer,
    classifier: Classifier,
    datamodule: XrayDataModule,
    checkpoint: str | None,
) -> None:
    """Find the temperature on the validation images; keep it in the checkpoint that was tested.

    Writes `calibration.json`, with the scores before and after on the test images, and the figure.
    """
    if not trainers.validates(config.trainer, len(datamodule.rows("val"))):
        if trainer.is_global_zero:
            print("Not calibrated: there are no validation images (split.val_fraction).")
        return
    tested = classifier.predictions["test"]
    again = trainers.build_trainer(config.trainer, config.folder, [], logger=False)
    again.validate(classifier, datamodule=datamodule, verbose=False)
    if not trainer.is_global_zero:
        return
    validation = classifier.predictions["val"]
    frame = predictions_table(datamodule, validation)
    write_csv(config.folder / "predictions-val.csv", frame)  # what `cxr-triage` finds thresholds on
    temperature = fit_temperature(validation.labels, validation.probabilities)
    labels, groups = tested.labels, list(datamodule.table["group"].iloc[tested.rows])
    both = (tested.probabilities, tempered(tested.probabilities, temperature))
    before, after = (scores(labels, p, groups, config.n_resamples) for p in both)
    n = len(validation.labels)
    content = {"temperature": temperature, "fitted_on": {"split": "val", "n": n}}
    write_json(
        config.folder / "calibration.json",
        content
        | {
            "test": {
                "n": len(labels),
                "before": {name: asdict(score) for name, score in before.items()},
                "after": {name: asdict(score) for name, score in after.items()},
            }
        },
    )
    title = f"test, n = {len(labels)}: calibration error {before['ece'].value:.3f}, then "
    title += f"{after['ece'].value:.3f}"
    points = [reliability(labels, p) for p in both]
    add_figure(trainer, "test/calibration", draw_reliability(points[0], points[1], title))
    file = Path(checkpoint) if checkpoint else config.folder / "checkpoints" / "last.ckpt"
    if file.exists():
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        AtomicCheckpointIO().save_checkpoint(loaded | {"calibration": content}, file)
    screen.print_calibrated(temperature, n, before, after)


@rank_zero_only
def place_on_ladder(
    config: TrainConfig, datamodule: XrayDataModule, predictions: Predictions
) -> None:
    """Write `ladder.csv` and `ladder.json`, and say how far above the highest rung the run is."""
    if not config.ladder_minutes:
        return
    given = (config.ladder_minutes, config.n_resamples, predictions.rows)
    try:
        ladder = ladder_of(datamodule, *given)
    except (OSError, DataError) as error:  # films that are gone by now; the run itself is whole
        print(f"The null ladder cannot be computed: {error}")
        return
    if not ladder.rungs:
        return
    classes = list(datamodule.classes)
    tests = ladder.tests.assign(label=[classes[k] for k in ladder.tests["label"]])
    said = [
        tests.assign(rung=rung.key).join(
            pd.DataFrame(rung.probabilities, columns=classes, index=tests.index)
        )
        for rung in ladder.rungs
    ]
    write_csv(config.folder / f"{LADDER}.csv", pd.concat(said))
    write_json(config.folder / f"{LADDER}.json", ladder.as_json(predictions.probabilities))
    screen.print_ladder(ladder, predictions.probabilities)


def test_elsewhere(
    config: TrainConfig,
    classifier: Classifier,
    datamodule: XrayDataModule,
    others: dict[str, XrayDataModule],
    own: external.Tests,
) -> None:
    """Test the network on each set of `external`; write its files, and print what it loses.

    own: what it said of its own test images.
    """
    for name, other in others.items():
        folder = config.folder / external.FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        results = TestResults(folder, config.n_resamples, config.seed, config.subgroups)
        callbacks = [results, ConfusionMatrixFigure(), WorstMistakesFigure(), EpochLines()]
        callbacks = [c for c in callbacks if trainers.can_run(config.trainer, False, False, c)]
        trainer = trainers.build_trainer(
            config.trainer, folder, callbacks, has_val=False, logger=False
        )
        trainer.test(classifier, datamodule=other, verbose=False)
        found = tests_of(other, classifier.predictions["test"])
        lost = external.drops(own, found, list(datamodule.classes), config.n_resamples)
        results.write_metrics({"lost": {metric: asdict(drop) for metric, drop in lost.items()}})
        screen.print_drops(name, lost, results.subgroups)


@rank_zero_only
def finish(folder: Path, speed: Mapping[str, Any]) -> None:
    """Write page, model card and CLAIM sheet of the run, which is whole without; the last lines."""
    try:
        write_pages(folder)
    except Exception as error:  # whatever it is: the training is worth more than its page
        print(
            f"The report of the run could not be written ({type(error).__name__}: {error}). The "
            f"run itself is complete. To write it again: cxr-report run={folder}"
        )
    else:
        print_pages(folder)
    screen.print_end(speed, folder)


def lost_elsewhere(
    classifier: Classifier, checkpoint: Path, datamodule: XrayDataModule, n_resamples: int
) -> dict[str, external.Drop]:
    """What a checkpoint loses on these images against its own run's test; empty if not known."""
    classes: list[str] = list(datamodule.classes)
    own = external.own_tests(checkpoint, classes)
    if own is None:
        return {}
    there = tests_of(datamodule, classifier.predictions["test"])
    return external.drops(own, there, classes, n_resamples)


def tests_of(datamodule: XrayDataModule, predictions: Predictions) -> external.Tests:
    """Predictions with the patients of their images."""
    groups = list(datamodule.table["group"].iloc[predictions.rows])
    return external.Tests(predictions.labels, predictions.probabilities, groups)
