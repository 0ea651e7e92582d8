"""From checkpoints to a network that is ready to use: one, several as one, and with what views."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from cxr_lightning.config import CheckpointsConfig, DataConfig, SplitConfig, TrainConfig, parse
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.data.identity import images_key
from cxr_lightning.data.names import some
from cxr_lightning.data.recorded import restricted
from cxr_lightning.data.sources import load_index
from cxr_lightning.errors import CheckpointError, ConfigError, CxrError
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.ensemble import Ensemble, Tempered, Views, mean_of_weights
from cxr_lightning.runs.recorded_split import read_split
from cxr_lightning.runs.writing import read_json
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
    unseen: Sequence[str] = (),
) -> Classifier:
    """The first checkpoint's classifier, with the network that all of them are together.

    `same` says which keys of the runs must agree, besides the classes and how images are read;
    `unseen` names the subsets of the first run that the others must not have been trained on.
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
    _check_unseen(files, (first, *others), unseen)
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
    if (before := _start_of(config)) is None:
        return
    for key in ("data.image_size", "data.contrast"):
        if (then := attrgetter(key)(before)) != (now := attrgetter(key)(config)):
            print(f"The weights of {config.ckpt_path} are of {key}={then}; here it is {now}.")
    if not _are_same(before.data, config.data):
        return
    for key in deciding(before.split, with_val=False):
        then, now = attrgetter(key)(before), attrgetter(key)(config)
        if then != now:
            raise ConfigError(
                f"ckpt_path={config.ckpt_path} was trained with {key}={then}, now it is {now}: "
                "images that it has seen may be tested. Give the same value."
            )


def starts_on_same_images(config: TrainConfig) -> bool:
    """Whether the run of `ckpt_path` had its images where this one has them."""
    before = _start_of(config)
    return before is not None and _are_same(before.data, config.data)


def _are_same(then: DataConfig, now: DataConfig) -> bool:
    keys = [key.removeprefix("data.") for key in IMAGES]
    return all(getattr(then, key) == getattr(now, key) for key in keys)


def _start_of(config: TrainConfig) -> TrainConfig | None:
    """The run that `ckpt_path` comes from, as it was configured; None where it does not say."""
    if config.ckpt_path is None:
        return None
    try:
        content = torch.load(config.ckpt_path, map_location="cpu", weights_only=True, mmap=True)
        run = content["hyper_parameters"]["run"]
    except Exception:  # a state dict, or nothing that torch reads: `read_weights` says which
        return None
    return parse(TrainConfig, run)


def recorded_split(file: Path, classifier: Classifier) -> "pd.Series[str] | None":
    """Path → split of the run that a checkpoint lies in; None where it is not known.

    A checkpoint that was moved away from its run's folder has left its split behind; one that lies
    in another run's has other numbers of training images.
    """
    known = read_split(file.parent.parent)
    n_train = sum(classifier.hparams["class_counts"])
    return known if known is not None and (known == "train").sum() == n_train else None


def is_of_run(
    data: DataConfig, trained: DataConfig, run: Path, recorded: "pd.Series[str] | None"
) -> bool:
    """Whether `data` lies where the run in the folder `run` had its images, or is a copy of them.

    Images of another place are a copy if those that the run has recorded are the same files there.
    """
    places = ("root", "manifest", "columns", "subfolder")
    if all(getattr(data, key) == getattr(trained, key) for key in places):
        return True
    if recorded is None or not (run / "run.json").exists():
        return False
    known = read_json(run / "run.json").get("images_key")
    return bool(known == images_key(restricted(load_index(data), recorded)))


def say_if_changed(datamodule: XrayDataModule, classifier: Classifier, run: Path) -> None:
    """Note, for the screen, where a run whose split is not known had another number of images.

    Older runs recorded no split, and a checkpoint may have been moved away from its run's folder.
    """
    file, n_now, n_then = run / "run.json", len(datamodule.table), classifier.n_images
    if n_then is None and file.exists():
        images = read_json(file).get("images", {})
        n_then = sum(n for column in images.values() for n in column.values()) or None
    if n_then not in (None, n_now):
        datamodule.index.notes.append(
            f"{run} has no recorded split (split.csv) of the checkpoint's run. It had {n_then} "
            f"images and now there are {n_now}, so the split may be another one: images that the "
            "network was trained on may be tested."
        )


def _check_unseen(
    files: Sequence[Path], classifiers: Sequence[Classifier], subsets: Sequence[str]
) -> None:
    """Raises `ConfigError` where one was trained on what the first one's run validates or tests."""
    first, *others = map(recorded_split, files, classifiers)
    for file, other in zip(files[1:], others, strict=True):
        if first is None or other is None:
            continue
        for subset in subsets:
            paths = first.index[first == subset].to_series()
            theirs = paths.map(other)
            if seen := list(paths[theirs.isin(("train", "val")) & (theirs != subset)]):
                raise ConfigError(
                    f"These checkpoints cannot be averaged: of the {len(paths)} {subset} images of "
                    f"{files[0]}, {len(seen)} were used to train {file}, or to choose it: "
                    f"{some(seen, 5)}. The images changed between the two runs."
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
        classifier.n_images = loaded.get("callbacks", {}).get("RunRecord", {}).get("n_images")
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
