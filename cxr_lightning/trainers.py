"""What Lightning's Trainer is given: devices, precision, callbacks; and what it leaves to test."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import (
    Checkpoint,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from cxr_lightning import ranks
from cxr_lightning.callbacks.epoch_lines import EpochLines
from cxr_lightning.config import TrainConfig, TrainerConfig, parse
from cxr_lightning.errors import ConfigError, did_you_mean
from cxr_lightning.instantiate import build, parameters
from cxr_lightning.models.classifier import best_direction, logged_metrics
from cxr_lightning.models.ensemble import mean_of_weights

if TYPE_CHECKING:
    from cxr_lightning.callbacks.pruning import Pruning

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
SET_BY_US = {
    "callbacks": "callbacks=…",
    "default_root_dir": "name=… or folder=…",
    "logger": "logger=…",
    "use_distributed_sampler": "our samplers, which give each process its share",
}


def check_trainer(config: TrainConfig) -> None:
    """What can be known to be wrong before any image is read.

    Raises:
        ConfigError: an argument that Trainer does not have; processes that Hydra would sweep again.
    """
    known = inspect.signature(Trainer).parameters
    for key in config.trainer.model_extra or {}:
        if key in SET_BY_US:
            raise ConfigError(f"trainer.{key} follows from {SET_BY_US[key]}; leave it out.")
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(f"trainer.{key}: Lightning's Trainer has no such argument{hint}")
    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and _starts_command_again(config.trainer):
        raise ConfigError(
            "A run on several devices inside a sweep needs hydra/launcher=processes; or set "
            "trainer.devices=1."
        )


def _starts_command_again(config: TrainerConfig) -> bool:
    """Whether Lightning, asked or by its own choice, starts this command once a further device."""
    keys = {"accelerator", "devices", "num_nodes", "strategy"}
    trainer = Trainer(**config.model_dump(include=keys), logger=False, enable_checkpointing=False)
    return isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)


def choose_precision(trainer: TrainerConfig) -> str:
    """`auto` becomes bf16-mixed where the hardware computes in bf16, else 32-true.

    A processor without AVX512-BF16 or AMX emulates bf16, slower than float32.
    """
    if trainer.precision != "auto":
        return str(trainer.precision)
    if trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif trainer.accelerator in ("auto", "cpu") and not torch.backends.mps.is_available():
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        has_bf16 = False
    return "bf16-mixed" if has_bf16 else "32-true"


def inherited_device(trained: TrainerConfig, given: dict[str, Any]) -> TrainerConfig:
    """A training's accelerator and precision, in one process; then what the command line sets.

    All else that a trainer was given concerns training only. Where the accelerator is not there,
    the best one there is takes its place, which is said.
    """
    then = trained.model_dump(include={"accelerator", "precision", "deterministic"})
    is_there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    is_there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    set_here = {key: value for key, value in given.items() if value is not None}
    if "accelerator" not in set_here and not is_there.get(then["accelerator"], True):
        print(
            f"The training ran on accelerator={then['accelerator']}, which this machine does not "
            "have. The best device here is used."
        )
        then |= {"accelerator": "auto", "precision": "auto"}
    return parse(TrainerConfig, {"max_epochs": 1, **then, **set_here})


def build_trainer(
    config: TrainerConfig,
    folder: Path,
    callbacks: Sequence[Callback],
    *,
    has_val: bool = True,
    **more: Any,
) -> Trainer:
    """Lightning's Trainer with all that `config` says; a profile goes to files in `folder`.

    Raises:
        ConfigError: Lightning refuses the combination.
    """
    given = {k: v for k, v in config.model_dump().items() if v is not None}
    if config.profiler is not None:
        given["profiler"] = PROFILERS[config.profiler](dirpath=folder, filename="profile")
    if not has_val:
        given["limit_val_batches"] = 0  # of an empty loader Lightning would warn
    given |= {
        "precision": choose_precision(config),
        # Which of these there are, `build_callbacks` and `can_run` have said.
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": any(isinstance(c, ProgressBar) for c in callbacks),
        # Our samplers give each rank its share: none twice in evaluation, as Lightning's would.
        "use_distributed_sampler": False,
    }
    arguments = {"enable_model_summary": False, **given, **more}
    try:
        trainer = Trainer(default_root_dir=folder, callbacks=list(callbacks), **arguments)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"Lightning's Trainer refuses these settings: {error}") from error
    ranks.watch(trainer)
    return trainer


def build_callbacks(config: TrainConfig) -> list[Callback]:
    """The configured callbacks; those that monitor a metric know its direction.

    Raises:
        ConfigError: one cannot be built, or monitors a metric that is not there or the wrong way.
    """
    callbacks = []
    for name, node in config.callbacks.items():
        if node is not None:
            if "_target_" not in node:
                raise ConfigError(
                    f"callbacks.{name} has settings, but the option that says what it is comes "
                    f"not before them. Write, for example, callbacks=[default,ema]; or leave the "
                    f"settings out: ~callbacks.{name}"
                )
            callbacks.append(build(with_direction(f"callbacks.{name}", node, config)))
    _check_kept(config, callbacks)
    return callbacks


def with_direction(key: str, node: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """A node that monitors a metric, with the `mode` that keeps its best value.

    Raises:
        ConfigError: no such metric, or the mode would keep its worst value.
    """
    monitor = node.get("monitor")
    if monitor is None:
        return node
    known = logged_metrics(list(config.data.classes) if config.data.classes else None)
    of_class = tuple(name for name in known if name.endswith("/"))
    if monitor not in known and not monitor.startswith(of_class):
        hint = did_you_mean(monitor, known)
        raise ConfigError(f"{key}.monitor={monitor}: no such metric is logged{hint}")
    mode = best_direction(monitor)
    if node.get("mode") not in (None, mode):
        raise ConfigError(
            f"{key}.mode={node['mode']} would keep the worst value of {monitor}. Leave mode out: "
            "it follows from the metric."
        )
    known_to_class = parameters(node)
    # Not strict: a training may end before its first validation.
    filled = {arg: v for arg, v in (("mode", mode), ("strict", False)) if arg in known_to_class}
    return {**filled, **node, **({"mode": mode} if "mode" in filled else {})}


def can_run(config: TrainerConfig, has_val: bool, has_logger: bool, callback: Callback) -> bool:
    """Whether what the callback watches, or writes to, is there and wanted."""
    extra = config.model_extra or {}
    if isinstance(callback, LearningRateMonitor) and not has_logger:
        return False  # Lightning would refuse it
    bars = (ProgressBar, EpochLines)
    if isinstance(callback, bars) and extra.get("enable_progress_bar") is False:
        return False
    if isinstance(callback, ModelCheckpoint) and extra.get("enable_checkpointing") is False:
        return False
    return has_val or not str(getattr(callback, "monitor", "")).startswith("val/")


def validates(config: TrainerConfig, n_images: int) -> bool:
    """Whether there are validation images, and the Trainer is to use them."""
    limit = (config.model_extra or {}).get("limit_val_batches", 1.0)
    return n_images > 0 and limit != 0


def build_pruning(config: TrainConfig) -> "list[Pruning]":
    """The callback that ends a hopeless trial, where the run is one of a search."""
    if config.search is None:
        return []
    from cxr_lightning.callbacks.pruning import Pruning  # needs Optuna, an extra

    return [Pruning(config.search, config.folder)]


def _check_kept(config: TrainConfig, callbacks: Sequence[Callback]) -> None:
    """Raises `ConfigError` where several checkpoints have one name, or a soup has none to mix."""
    monitoring = [c for c in callbacks if isinstance(c, ModelCheckpoint) and c.monitor]
    several = [c for c in monitoring if c.save_top_k != 1]
    if any("{" not in (c.filename or "{}") for c in several):
        raise ConfigError(
            "A callback keeps several checkpoints under one name, so that each replaces the one "
            "before. Write callbacks=[default,soup] in this order, or give filename a {epoch}."
        )
    has_val = validates(config.trainer, config.split.val_fraction > 0)
    if config.test_checkpoint == "soup" and not (has_val and monitoring[:1] == several[:1] != []):
        raise ConfigError(
            "test_checkpoint=soup needs several checkpoints, chosen on validation images: "
            "callbacks=[default,soup], and split.val_fraction above 0."
        )


def tested_checkpoint(config: TrainConfig, trainer: Trainer, has_val: bool) -> dict[str, Any]:
    """The checkpoint to test: `checkpoint` (None: the last weights), `epoch`, `monitor`, `value`.

    Of `test_checkpoint=best` it is what the first ModelCheckpoint that monitors something chose; of
    `soup`, the mean of the weights of all that it kept, which is of no epoch.
    """
    last = {"checkpoint": None, "epoch": trainer.current_epoch - 1}
    if config.test_checkpoint == "last":
        return last
    checkpoints = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
    best = next((c for c in checkpoints if c.monitor and c.best_model_path), None)
    if best is None:
        if has_val:
            print("No checkpoint was chosen on the validation images: the last weights are tested.")
        return last
    if config.test_checkpoint == "soup":
        return {"checkpoint": _soup(trainer, best), "epoch": None, "of": len(best.best_k_models)}
    content = torch.load(best.best_model_path, map_location="cpu", weights_only=True, mmap=True)
    score = None if best.best_model_score is None else float(best.best_model_score)
    chosen = {"checkpoint": best.best_model_path, "epoch": int(content["epoch"])}
    return {**chosen, "monitor": best.monitor, "value": score}


def _soup(trainer: Trainer, kept: ModelCheckpoint) -> str:
    """Write the mean of the checkpoints that `kept` kept beside them; returns its path."""
    file = Path(kept.best_model_path).with_name("soup.ckpt")
    if trainer.is_global_zero:
        files = [
            kept.best_model_path,
            *(f for f in kept.best_k_models if f != kept.best_model_path),
        ]
        loaded = [torch.load(one, map_location="cpu", weights_only=True) for one in files]
        mean = mean_of_weights([one["state_dict"] for one in loaded])
        trainer.strategy.checkpoint_io.save_checkpoint({**loaded[0], "state_dict": mean}, file)
    trainer.strategy.barrier()
    return str(file)
