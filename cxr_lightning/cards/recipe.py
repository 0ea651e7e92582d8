"""What a run was trained on, and how: rows of a name and a text."""

from typing import Any

from cxr_lightning.cards.record import RunFiles
from cxr_lightning.cards.words import counted
from cxr_lightning.data.names import count

Rows = list[tuple[str, str]]
UNKNOWN = "not recorded"
LEFT_OUT = ("left out by the split", "unreadable", "files that are no images")


def training_data(run: RunFiles) -> Rows:
    """The images: which, how many, of whom, how they were read and split."""
    data, split = run.config["data"], run.config["split"]
    root = str(run.record.get("images_root") or data.get("root") or "")
    folder = f", folder “{root.rstrip('/').rpartition('/')[2]}”" if root else ""
    rows = [("data set", f"data={data.get('name')}{folder}")]
    patients = run.record.get("patients", {})
    for name, title in (("train", "trained on"), ("val", "chosen on"), ("test", "tested on")):
        images = run.images(name)
        if name == "test" and run.results:  # the trainer may have been told to test fewer
            images = run.results.get("images_per_class", images)
            patients = patients | {"test": run.results["patients"]}
        if not sum(images.values()):
            said = "no images" if images else UNKNOWN
        else:
            said = f"{counted(images)}; {count(patients.get(name, 0), 'patient')}"
        rows.append((title, said))
    rows.append(("split", _split(split)))
    rows += left_out(run)
    white = run.record.get("white")
    read = f"one grey channel, {value(data, 'image_size')} × {value(data, 'image_size')} px"
    read += f", contrast: {data.get('contrast', UNKNOWN)}"
    rows.append(("read as", read + (f", value of white in 16 bits: {white}" if white else "")))
    return rows


def recipe(run: RunFiles) -> Rows:
    """The network and its training."""
    config, record = run.config, run.record
    model, optim = config.get("model", {}), config.get("optim", {})
    parameters = record.get("parameters")
    network = f"{value(model, 'name')} ({_class(model.get('network'))})"
    rows = [("network", network + (f", {parameters:,} parameters" if parameters else ""))]
    rows.append(("starts from", start(run)))
    imbalance = config.get("imbalance", {})
    loss = f"{_class(imbalance.get('loss'))}, imbalance={imbalance.get('name', UNKNOWN)}"
    rows.append(
        ("loss", loss + (", balanced sampler" if imbalance.get("balanced_sampler") else ""))
    )
    optimizer = f"{_class(optim.get('optimizer'))}, learning rate {value(optim, 'lr')}"
    optimizer += f", weight decay {value(optim, 'weight_decay')}"
    rows.append(
        ("optimizer", f"{optimizer}, schedule: {_class(optim.get('scheduler'), 'constant')}")
    )
    rows.append(("augmentation", augmentation(run)))
    epochs = f"{record.get('epochs', UNKNOWN)} of at most {value(config, 'trainer.max_epochs')}"
    rows.append(("epochs", f"{epochs}, batches of {value(config, 'data.batch_size')}"))
    rows.append(("tested weights", tested(run)))
    rows.append(("seed", str(record.get("seed", config.get("seed", UNKNOWN)))))
    machine = (record.get("device"), record.get("precision"))
    rows.append(("machine", ", ".join(str(part) for part in machine if part) or UNKNOWN))
    seconds = record.get("seconds", {}).get("fit")
    rows.append(("training time", UNKNOWN if seconds is None else _duration(seconds)))
    rows.append(("software", software(run)))
    return rows


def augmentation(run: RunFiles) -> str:
    """The names of the steps."""
    steps = run.config.get("augment")
    if steps is None:
        return UNKNOWN
    return ", ".join(name for name, node in steps.items() if node) or "none"


def start(run: RunFiles) -> str:
    """Where the weights came from before the training."""
    model = run.config.get("model", {})
    if run.config.get("ckpt_path"):
        return f"the checkpoint {str(run.config['ckpt_path']).rpartition('/')[2]} of another run"
    if model.get("weights"):
        return f"pretrained weights: {model['weights']}"
    return "random weights" if "weights" in model else UNKNOWN


def tested(run: RunFiles) -> str:
    """Which weights were tested, and how they were chosen."""
    found = run.results.get("tested") or run.record.get("tested")
    if not found:
        return "not tested yet"
    chosen = run.record.get("tested") or {}
    name = str(found.get("checkpoint") or "last")
    if found.get("epoch") is None:
        return f"{name}, the mean of the weights of {chosen.get('of', 'several')} checkpoints"
    said = f"{name} of epoch {found['epoch'] + 1}"
    if (monitor := chosen.get("monitor")) is None:
        return f"{said}; not chosen by validation images"
    n = sum(run.images("val").values())
    reached = chosen.get("value")
    of = "of a part of the images" if "limit_val_batches" in limited(run) else f"n = {n}"
    score = "" if reached is None else f" ({reached:.3f}, {of}, no interval computed)"
    return f"{said}, the best by {monitor}{score}"


def limited(run: RunFiles) -> dict[str, Any]:
    """What made the trainer use a part of the images only."""
    given = run.config.get("trainer", {})
    keys = ("fast_dev_run", "overfit_batches")
    found = {k: v for k, v in given.items() if (k.startswith("limit_") or k in keys) and v}
    return {key: v for key, v in found.items() if not (key.startswith("limit_") and v == 1.0)}


def software(run: RunFiles) -> str:
    """Versions, and the commit of the framework."""
    versions = run.record.get("versions", {})
    named = ", ".join(f"{name} {version}" for name, version in versions.items()) or UNKNOWN
    commit = run.record.get("git_commit")
    return f"{named}; commit {commit}" if commit else named


def left_out(run: RunFiles) -> Rows:
    """Images that were found and not used, and files that are no images, as `LEFT_OUT`."""
    unused, broken = UNKNOWN, run.record.get("unreadable_images", {})
    if run.has("split.csv"):
        out = run.split["path"][run.split["split"] == ""]
        unused = count(int((~out.isin(list(broken))).sum()), "image")
    unreadable, policy = count(len(broken), "image"), run.config["data"].get("unreadable")
    if policy == "error":
        unreadable += " (one would have stopped the run)"
    kinds = [f"{n} {ending}" for ending, n in run.record.get("ignored_files", {}).items()]
    return list(zip(LEFT_OUT, (unused, unreadable, ", ".join(kinds) or "none"), strict=True))


def value(section: dict[str, Any], key: str) -> str:
    """A value of the configuration by its dotted key."""
    found: Any = section
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return UNKNOWN if found is None else str(found)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 60 else f"{seconds / 60:.1f} minutes"


def _split(split: dict[str, Any]) -> str:
    words = [f"{name} {split[name]}" for name in ("val_fraction", "seed") if name in split]
    if split.get("name") == "pooled":
        words.append(f"test_fraction {split.get('test_fraction')}")
    if split.get("name") == "kfold":
        words.append(f"fold {split.get('fold')} of {split.get('n_folds')}")
    return ", ".join([f"split={split.get('name')}, by patient", *words])


def _class(node: Any, otherwise: str = UNKNOWN) -> str:
    """The last part of a `_target_`."""
    if not isinstance(node, dict) or "_target_" not in node:
        return otherwise
    return str(node["_target_"]).rpartition(".")[2]
