"""A folder of images to a CSV of class probabilities: `cxr-predict ckpt_path=… input=…`."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.config import (
    PredictConfig,
    TrainConfig,
    existing_checkpoints,
    parse,
)
from cxr_lightning.errors import CheckpointError
from cxr_lightning.startup import prepare

UNDEFINED = "the network's output is no number"


def run(cfg: DictConfig) -> Path:
    """Predict every image under `input`; returns the CSV's path.

    The CSV has one row per image: `path` (relative to `input`), `predicted`, one probability per
    class, and `error`, the reason where an image could not be read. With `explain`, `explain.html`
    beside it has heatmaps. Raises `CheckpointError`, once the CSV is written, where the network's
    outputs are no numbers.
    """
    config = parse(PredictConfig, cfg)
    checkpoints = existing_checkpoints(config.ckpt_path)
    prepare()
    import pandas as pd
    import torch
    from pytorch_lightning import Callback

    from cxr_lightning import screen, trainers
    from cxr_lightning.callbacks.epoch_lines import EpochLines
    from cxr_lightning.data.index import find_images
    from cxr_lightning.data.unlabelled import FileDataset
    from cxr_lightning.decisions.choice import with_tau
    from cxr_lightning.runs.writing import write_csv
    from cxr_lightning.trained import load_ensemble

    classifier = load_ensemble(checkpoints, config)
    if config.calibrate and classifier.temperature is None:
        print("The probabilities are not calibrated: the run had no validation images.")
    if config.tau is not None:
        classifier.use(with_tau(classifier, config.tau))
    trained = parse(TrainConfig, classifier.hparams["run"])
    classes: list[str] = classifier.hparams["classes"]
    trainer_config = trainers.inherited_device(trained.trainer, config.trainer)

    root, images, ignored = find_images(config.input)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    data = trained.data
    dataset = FileDataset(root, images, data.image_size, data.white, data.contrast)
    callbacks: list[Callback] = [EpochLines()]
    if config.explain:
        from cxr_lightning.gallery import Explained  # needs a second to import

        explained = Explained(classifier, images, config.explain_limit)
        callbacks.append(explained)
    trainer = trainers.build_trainer(trainer_config, config.folder, callbacks, logger=False)
    batches = trainer.predict(classifier, dataset.loader(config.batch_size, config.num_workers))
    probabilities = torch.cat([batch[1] for batch in batches or []])
    table = pd.DataFrame(probabilities.numpy(), columns=classes)
    table.insert(0, "path", images)
    table.insert(1, "predicted", [classes[k] for k in probabilities.argmax(dim=1)])
    errors = dataset.errors(torch.cat([batch[2] for batch in batches or []]).tolist())
    undefined = ~torch.isfinite(probabilities).all(dim=1)
    undefined_paths = [
        path for path, is_so in zip(images, undefined.tolist(), strict=True) if is_so
    ]
    errors = dict.fromkeys(undefined_paths, UNDEFINED) | errors
    table["error"] = [errors.get(path, "") for path in images]
    table.loc[table["error"] != "", ["predicted", *classes]] = None
    write_csv(config.output, table)
    screen.print_predictions(table, ignored, config.output)
    if config.explain:
        explained.finish(config.output.with_name("explain.html"))
    if n := (table["error"] == UNDEFINED).sum():
        raise CheckpointError(
            f"The network's outputs are no numbers for {n} of {len(table)} images; {config.output} "
            "names them. Try trainer.precision=32-true; else its training diverged."
        )
    return config.output


def main() -> None:
    """The command `cxr-predict`."""
    run_command("predict", run)


if __name__ == "__main__":
    main()
