"""From a checked configuration to the parts of a run, and whether they agree with each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.utilities.seed import isolate_rng

from cxr_lightning.config import DataConfig, TrainConfig
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.errors import CheckpointError, ConfigError, CxrError, DataError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.losses import build_loss
from cxr_lightning.models.network import Network, check_logits
from cxr_lightning.models.weights import Weights, copy_weights, read_weights
from cxr_lightning.runs.folder import KEYS_IGNORED_ON_RESUME, last_checkpoint
from cxr_lightning.runs.writing import read_json
from cxr_lightning.trust import check_node


def build_datamodule(config: TrainConfig) -> XrayDataModule:
    """The images of `config`, not yet read."""
    return XrayDataModule(
        config.data,
        config.split,
        config.augment,
        balanced=config.imbalance.balanced_sampler,
        seed=config.seed,
    )


def check_data(config: TrainConfig, datamodule: XrayDataModule) -> None:
    """Whether the data can train this model, once, before training.

    Raises:
        ConfigError: `model.num_classes` against the classes found.
        DataError: a class without training images, or no test images.
    """
    classes, counts = datamodule.classes, datamodule.counts()
    if config.model.num_classes not in (None, len(classes)):
        raise ConfigError(
            f"model.num_classes={config.model.num_classes}, but {datamodule.index.root} has "
            f"{len(classes)} classes: {', '.join(classes)}. Leave num_classes out, or fix "
            "data.classes."
        )
    empty = [name for name in classes if counts.loc[name, "train"] == 0]
    if empty:
        raise DataError(
            f"{datamodule.index.root} has no training images of {', '.join(empty)}. Add some, or "
            "list in data.classes only the classes that it has; data=folder takes its folders."
        )


def check_same_images(config: TrainConfig, datamodule: XrayDataModule) -> None:
    """Raises `ConfigError` where the run in the folder has been trained on other images."""
    record = config.folder / "run.json"
    if last_checkpoint(config.folder) is None or not record.exists():
        return
    if read_json(record).get("images_key") not in (None, datamodule.images_key):
        raise ConfigError(
            f"The run in {config.folder} began with other images than there are now under "
            f"{datamodule.index.root}. Put them back to resume it, or choose another name=…"
        )


def check_model(config: TrainConfig) -> None:
    """Build network and loss, and process two images, before any image is read.

    The global random state stays as it is. Without data.classes, the test is for two classes.

    Raises:
        ConfigError: the network or the loss cannot be built, or does not return what it must.
        CheckpointError: `model.weights` cannot be read, or does not fit.
    """
    n_classes = len(config.data.classes or {}) or config.model.num_classes or 2
    with isolate_rng():
        arguments, weights = _network_arguments(config)
        network = Network(**arguments, num_classes=n_classes)
        if weights is not None:
            copy_weights(weights, network.backbone, config.model, n_classes)
        check_logits(network, config.model.name, n_classes, config.data.image_size)
        build_loss(config.imbalance.loss, [1] * n_classes)


def _network_arguments(config: TrainConfig) -> tuple[dict[str, Any], Weights | None]:
    """What `Network` takes but num_classes, in plain values; and its pretrained weights."""
    model = config.model
    if config.ckpt_path is not None:  # of another run: its weights and normalisation
        if model.weights is not None:
            raise ConfigError("ckpt_path and model.weights both name weights; give one of them.")
        model = model.model_copy(update={"weights": str(config.ckpt_path)})
    weights = None if model.weights is None else read_weights(model)
    arguments = {
        "node": model.network,
        "image_size": config.data.image_size,
        "channels": model.channels,
        "mean": model.mean or (weights and weights.mean),
        "std": model.std or (weights and weights.std),
        "channels_last": model.channels_last,
    }
    return arguments, weights


def build_classifier(
    config: TrainConfig, datamodule: XrayDataModule, has_val: bool | None = None
) -> Classifier:
    """The network with its loss and optimizer; pretrained weights are copied in here."""
    datamodule.setup()
    has_val = len(datamodule.rows("val")) > 0 if has_val is None else has_val
    monitor = config.optim.monitor or ("val/loss" if has_val else "train/loss")
    network, weights = _network_arguments(config)
    classifier = Classifier(
        network=network,
        classes=list(datamodule.classes),
        class_counts=[int(n) for n in datamodule.counts()["train"]],
        imbalance=config.imbalance.model_dump(),
        optim=config.optim.model_dump() | {"monitor": monitor},
        # With the value of white that was found in the images: others are to be read with it too.
        run=config.model_copy(
            update={"data": config.data.model_copy(update={"white": datamodule.pixels.white})}
        ).model_dump(mode="json"),
    )
    if weights is not None:
        backbone = classifier.network.backbone
        copy_weights(weights, backbone, config.model, len(datamodule.classes))
    return classifier


def load_classifier(file: Path, trust: Sequence[str] = ()) -> Classifier:
    """The classifier of a checkpoint, ready to evaluate.

    `trust` names packages or classes that it may build besides those of `cxr_lightning.trust`.
    Lightning's `load_from_checkpoint` would also call what a file gives as its `hparams_type`.

    Raises:
        CheckpointError: not a checkpoint of this framework, or not to be trusted.
    """
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        hparams = loaded["hyper_parameters"]
        check_node("model.network", hparams["network"]["node"], trust)
        check_node("imbalance.loss", hparams["imbalance"]["loss"], trust)
        classifier = Classifier(**hparams)
        classifier.load_state_dict(loaded["state_dict"])
    except CxrError:
        raise
    except Exception as error:  # torch raises unpickling, zip, key and runtime errors
        raise CheckpointError(
            f"ckpt_path={file} is not a checkpoint of cxr-train ({type(error).__name__})."
        ) from error
    return classifier


def as_trained(data: DataConfig, trained: DataConfig, classes: list[str]) -> DataConfig:
    """`data` read at the size and with the class names (and spellings) of the training images."""
    known = data.classes or trained.classes or {name: [] for name in classes}
    return data.model_copy(update={"image_size": trained.image_size, "classes": known})


def check_classes(datamodule: XrayDataModule, classes: list[str], checkpoint: Path) -> None:
    """Raises `ConfigError` where the data's classes are not those of the checkpoint, in order."""
    if list(datamodule.classes) != classes:
        raise ConfigError(
            f"{checkpoint} tells {', '.join(classes)} apart, but data.classes lists "
            f"{', '.join(datamodule.classes)}. Give the same names in the same order."
        )


def flat_hparams(config: TrainConfig) -> dict[str, Any]:
    """What distinguishes runs, for the HPARAMS tab, which shows the first five by alphabet."""
    hparams = {
        "augment": "+".join(name for name, node in config.augment.items() if node) or "none",
        "batch_size": config.data.batch_size,
        "imbalance": config.imbalance.name,
        "lr": config.optim.lr,
        "model": config.model.name,
        "optimizer": str(config.optim.optimizer["_target_"]).rpartition(".")[2],
        "seed": config.seed,
        "split": config.split.name,
        "weight_decay": config.optim.weight_decay,
        "weights": config.model.weights or "none",
    }
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    pairs = (word.lstrip("+").partition("=") for word in given if not word.startswith("~"))
    no_matter = (*KEYS_IGNORED_ON_RESUME, *hparams)
    return hparams | {key: value for key, _, value in pairs if key not in no_matter}
