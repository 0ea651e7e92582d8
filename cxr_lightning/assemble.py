"""From a checked configuration to the parts of a run, and whether they agree with each other."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.utilities.seed import isolate_rng

from cxr_lightning.config import TrainConfig
from cxr_lightning.data.batches import is_of_batches
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.data.names import count, some
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.losses import build_loss
from cxr_lightning.models.network import Network, check_logits
from cxr_lightning.models.weights import Weights, copy_weights, read_weights
from cxr_lightning.runs.folder import KEYS_IGNORED_ON_RESUME, last_checkpoint
from cxr_lightning.runs.recorded_split import read_split, write_split
from cxr_lightning.runs.writing import read_json
from cxr_lightning.trained import check_start, starts_on_same_images


def build_datamodule(config: TrainConfig) -> XrayDataModule:
    """The images of `config`, not yet read; a run that is resumed keeps the split it began with."""
    is_resumed = last_checkpoint(config.folder) is not None
    return XrayDataModule(
        config.data,
        config.split,
        config.augment,
        balanced=config.imbalance.balanced_sampler,
        seed=config.seed,
        recorded=read_split(config.folder) if is_resumed else None,
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
    if datamodule.changes is not None and len(gone := datamodule.changes.gone):
        raise ConfigError(
            f"The run in {config.folder} began with other images than there are now under "
            f"{datamodule.index.root}: {count(len(gone), 'image')} gone ({some(gone.index, 5)}). "
            "Put them back to resume it, or choose another name=…"
        )
    if read_json(record).get("images_key") not in (None, datamodule.images_key):
        raise ConfigError(
            f"The run in {config.folder} began with other images than there are now under "
            f"{datamodule.index.root}. Put them back to resume it, or choose another name=…"
        )


def check_unseen(config: TrainConfig, datamodule: XrayDataModule) -> None:
    """Raises `ConfigError` where images are tested that the run of `ckpt_path` was trained on."""
    if config.ckpt_path is None or (known := read_split(config.ckpt_path.parent.parent)) is None:
        return
    if not starts_on_same_images(config):
        return
    tested = datamodule.table["path"][datamodule.table["split"] == "test"]
    if seen := list(tested[tested.map(known).isin(("train", "val"))]):
        raise ConfigError(
            f"ckpt_path={config.ckpt_path} was trained on {len(seen)} of the {len(tested)} images "
            f"that are tested now: {some(seen, 5)}. The images have changed since its run, and "
            "with them the split. Use the images of that run, or a manifest with a split column "
            "that keeps its split.csv."
        )


def keep_split(config: TrainConfig, datamodule: XrayDataModule) -> None:
    """Check the split against earlier runs; write `split.csv` of a run that begins.

    Raises as `check_same_images` and `check_unseen`.
    """
    check_same_images(config, datamodule)
    check_unseen(config, datamodule)
    if last_checkpoint(config.folder) is None:
        write_split(config.folder, datamodule.index.table, datamodule.table)


def check_model(config: TrainConfig) -> None:
    """Build network and loss, and process two images, before any image is read.

    The global random state stays as it is. Without data.classes, the test is for two classes.

    Raises:
        ConfigError: the network or the loss cannot be built, or does not return what it must;
            `ckpt_path` was trained on what is tested now.
        CheckpointError: `model.weights` cannot be read, or does not fit.
    """
    n_classes = len(config.data.classes or {}) or config.model.num_classes or 2
    check_start(config)
    with isolate_rng():
        arguments, weights = _network_arguments(config)
        network = Network(**arguments, num_classes=n_classes)
        if weights is not None:
            copy_weights(weights, network.backbone, config.model, n_classes)
        check_logits(network, config.model.name, n_classes, config.data.image_size)
        for size_px in config.data.train_sizes or []:
            name = f"data.train_sizes={config.data.train_sizes}: {config.model.name}"
            check_logits(network, name, n_classes, size_px)
        mixes = any(is_of_batches(node) for node in config.augment.values() if node)
        build_loss(config.imbalance.loss, [1] * n_classes, takes_shares=mixes)


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
