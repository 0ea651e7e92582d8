"""A folder of images to a CSV of class probabilities: `cxr-predict ckpt_path=… input=…`."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.startup import prepare


def run(cfg: DictConfig) -> Path:
    """Predict every image under `input`; returns the CSV's path.

    The CSV has a row an image: `path` (relative to `input`), `predicted`, a probability a class,
    and `error`, the reason where an image could not be read.
    """
    prepare()
    import pandas as pd
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import RichProgressBar

    from cxr_lightning import assemble, screen
    from cxr_lightning.callbacks.metrics_file import write_csv
    from cxr_lightning.config import PredictConfig, TrainConfig, TrainerConfig, parse
    from cxr_lightning.data.unlabelled import FileDataset
    from cxr_lightning.data.index import find_images

    config = parse(PredictConfig, cfg)
    classifier = assemble.load_classifier(config.ckpt_path, config.trust)
    trained = parse(TrainConfig, classifier.hparams["run"])
    classes: list[str] = classifier.hparams["classes"]
    given = {key: value for key, value in config.trainer.items() if value is not None}
    # One process, whatever the training ran on; its other arguments concern training only.
    device = trained.trainer.model_dump(include={"max_epochs", "accelerator", "precision"})
    trainer_config = parse(TrainerConfig, device | {"devices": 1} | given)
    precision = assemble.choose_precision(trainer_config)

    root, images, ignored = find_images(config.input)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    dataset = FileDataset(root, images, trained.data.image_size)
    trainer = Trainer(
        **assemble.trainer_arguments(trainer_config, precision, config.folder),
        default_root_dir=config.folder,
        logger=False,
        enable_checkpointing=False,
        callbacks=[RichProgressBar()],
    )
    batches = trainer.predict(classifier, dataset.loader(config.batch_size, config.num_workers))
    probabilities = torch.cat([batch[1] for batch in batches or []])
    table = pd.DataFrame(probabilities.numpy(), columns=classes)
    table.insert(0, "path", images)
    table.insert(1, "predicted", [classes[k] for k in probabilities.argmax(dim=1)])
    errors = dataset.errors(torch.cat([batch[2] for batch in batches or []]).tolist())
    table["error"] = [errors.get(path, "") for path in images]
    table.loc[table["error"] != "", ["predicted", *classes]] = None
    write_csv(config.output, table)
    screen.print_predictions(table, ignored, config.output)
    return config.output


def main() -> None:
    """The command `cxr-predict`."""
    run_command("predict", run)


if __name__ == "__main__":
    main()
