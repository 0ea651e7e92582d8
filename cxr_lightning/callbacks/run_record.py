"""run.json: what ran, on what, on which images, and how long it took."""

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning.callbacks.results import write_json

if TYPE_CHECKING:
    from cxr_lightning.data.datamodule import XrayDataModule

PACKAGES = (
    "cxr-lightning",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "pillow",
)


class RunRecord(Callback):
    """Times a run and writes its record; rewritten as the run gets further."""

    def __init__(self, folder: Path, seed: int, precision: str) -> None:
        self.folder, self.seed, self.precision = folder, seed, precision
        self.started = time.time()
        self.epoch_s: list[float] = []
        self.seconds: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._fit_before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The training's seconds so far, for a checkpoint."""
        return {"epoch_s": self.epoch_s, "fit": self._fit_s()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The training's seconds before it was cut off; not those up to a tested checkpoint."""
        if "fit" in self.seconds:
            return
        self.epoch_s, self._fit_before = state_dict["epoch_s"], state_dict["fit"]

    def _fit_s(self) -> float:
        return self._fit_before + time.perf_counter() - self._since["fit"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and leave a record of what was started."""
        self._since["fit"] = time.perf_counter()
        self._write(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an epoch's clock."""
        self._since["epoch"] = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Stop it at the last training batch: an epoch's seconds leave validation out."""
        if trainer.is_last_batch:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize()
            self.epoch_s.append(time.perf_counter() - self._since["epoch"])
            pl_module.log(
                "time/train_epoch_s",
                self.epoch_s[-1],
                on_step=False,
                on_epoch=True,
                rank_zero_only=True,
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the training's seconds."""
        self.seconds["fit"] = self._fit_s()
        self._write(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since["test"] = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the test's seconds."""
        self.seconds["test"] = time.perf_counter() - self._since["test"]
        self._write(trainer, pl_module)

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        table = datamodule.table
        record = {
            "started": time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(self.started)),
            "command": sys.argv,
            "git_commit": _git_commit(),
            "versions": {"python": platform.python_version()}
            | {package: version(package) for package in PACKAGES},
            "device": _device(pl_module.device),
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "seed": self.seed,
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "images": {split: column.to_dict() for split, column in datamodule.counts().items()},
            "patients": table.groupby("split")["group"].nunique().to_dict(),
            "images_root": str(datamodule.index.root.resolve()),
            "store_key": datamodule.pixels.key,
            "ignored_files": datamodule.index.ignored,
            "unreadable_images": datamodule.unreadable,
            "epochs": len(self.epoch_s),
            "train_epoch_s": statistics.median(self.epoch_s) if self.epoch_s else None,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }
        write_json(self.folder / "run.json", record)


def _git_commit() -> str | None:
    """The commit of the checkout this package lies in, "+changes" if its files differ from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", str(here))
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel, or git is not there


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()}, {os.cpu_count()} cores)"
