"""From checkpoints to a network that is ready to use: one, several as one, and with what views."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import torch
from torch import nn

from cxr_lightning.config import CheckpointsConfig, DataConfig, SplitConfig, TrainConfig, parse
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.errors import CheckpointError, ConfigError, CxrError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.ensemble import Ensemble, Tempered, Views, mean_of_weights
from cxr_lightning.trust import check_node

READING = ("data.image_size", "data.contrast", "data.white")
IMAGES = ("data.name", "data.root", "data.phantom")
FILES = ("data.manifest", "data.columns", "data.subfolder")


def deciding(split: SplitConfig, *, with_val: bool) -> tuple[str, ...]:
    """The keys that decide which images are tested and, `with_val`, which validate.

    Where they differ, one network may be tested on what another one was trained on. With the
    official split, folders or the manifest say what is tested; else chance and the patients do.
    """
    if split.name == "official" and not with_val:
        return (*IMAGES, *FILES, "split.name")
    of_data = ("data.unreadable", "data.classes", "data.group_pattern")
    of_split = [k for k in SplitConfig.model_fields if with_val or k != "val_fraction"]
    return (*IMAGES, *FILES, *of_data, *(f"split.{key}" for key in of_split))


def load_ensemble(
    files: Sequence[Path],
    config: CheckpointsConfig,
    same: Callable[[SplitConfig], Sequence[str]] = lambda split: (),
) -> Classifier:
    """The first checkpoint's classifier, with the network that all of them are together.

    `same` says which keys of the runs must agree, besides the classes and how images are read.
    Raises `CheckpointError` as `load_classifier`, `ConfigError` where two of them do not agree.
    """
    first, *others = (load_classifier(file, config.trust) for file in files)
    keys = [*READING, *same(parse(TrainConfig, first.hparams["run"]).split)]
    for file, other in zip(files[1:], others, strict=True):
        for key, (ours, theirs) in _what_must_agree(keys, first, other).items():
            if ours != theirs:
                raise ConfigError(
                    f"These checkpoints cannot be averaged: {key} is {ours} in {files[0]}, but "
                    f"{theirs} in {file}."
                )
    networks = [_calibrated(one, config) for one in (first, *others)]
    if others and config.combine == "weights":
        first.network.load_state_dict(mean_of_weights([one.state_dict() for one in networks]))
    elif others:
        first.use(Ensemble(networks))
    else:
        first.use(networks[0])
    if config.tta != "none":
        first.use(Views(first.network, config.tta))
    return first


def _calibrated(classifier: Classifier, config: CheckpointsConfig) -> nn.Module:
    """The network; with its temperature where that is asked for and known."""
    is_asked = getattr(config, "calibrate", False) and config.combine == "probabilities"
    if not is_asked or classifier.temperature is None:
        return classifier.network
    return Tempered(classifier.network, classifier.temperature)


def check_start(config: TrainConfig) -> None:
    """Raises `ConfigError` where `ckpt_path` was trained on images that are tested now.

    That is on the same images with another split. Says where it was trained on images that were
    read in another way. Of a file that is no checkpoint of cxr-train nothing is known.
    """
    if config.ckpt_path is None:
        return
    try:
        content = torch.load(config.ckpt_path, map_location="cpu", weights_only=True)
        run = content["hyper_parameters"]["run"]
    except Exception:  # a state dict, or nothing that torch reads: `read_weights` says which
        return
    before = parse(TrainConfig, run)
    for key in ("data.image_size", "data.contrast"):
        if (then := attrgetter(key)(before)) != (now := attrgetter(key)(config)):
            print(f"The weights of {config.ckpt_path} are of {key}={then}; here it is {now}.")
    if any(attrgetter(key)(before) != attrgetter(key)(config) for key in IMAGES):
        return
    for key in deciding(before.split, with_val=False):
        then, now = attrgetter(key)(before), attrgetter(key)(config)
        if then != now:
            raise ConfigError(
                f"ckpt_path={config.ckpt_path} was trained with {key}={then}, now it is {now}: "
                "images that it has seen may be tested. Give the same value."
            )


def _what_must_agree(keys: Sequence[str], *classifiers: Classifier) -> dict[str, list[object]]:
    runs = [parse(TrainConfig, classifier.hparams["run"]) for classifier in classifiers]
    values: dict[str, list[object]] = {key: [attrgetter(key)(run) for run in runs] for key in keys}
    return {"the list of classes": [c.hparams["classes"] for c in classifiers]} | values


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
        classifier.temperature = dict(loaded.get("calibration") or {}).get("temperature")
    except CxrError:
        raise
    except Exception as error:  # torch raises unpickling, zip, key and runtime errors
        raise CheckpointError(
            f"ckpt_path={file} is not a checkpoint of cxr-train ({type(error).__name__})."
        ) from error
    return classifier


def as_trained(data: DataConfig, trained: DataConfig, classes: list[str]) -> DataConfig:
    """`data` read as the training images were: their size, contrast, class names and spellings."""
    known = data.classes or trained.classes or {name: [] for name in classes}
    read = {"image_size": trained.image_size, "contrast": trained.contrast}
    return data.model_copy(update={**read, "classes": known})


def check_classes(datamodule: XrayDataModule, classes: list[str], checkpoint: Path) -> None:
    """Raises `ConfigError` where the data's classes are not those of the checkpoint, in order."""
    if list(datamodule.classes) != classes:
        raise ConfigError(
            f"{checkpoint} tells {', '.join(classes)} apart, but data.classes lists "
            f"{', '.join(datamodule.classes)}. Give the same names in the same order."
        )
