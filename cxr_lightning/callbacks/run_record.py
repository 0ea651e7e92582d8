"""run.json: what ran, on what, on which images, and how fast."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from cxr_lightning.callbacks.stopwatch import Stopwatch
from cxr_lightning.runs.writing import read_json, without_passwords, write_json

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
    """Writes a run's record, and rewrites it as the run advances."""

    def __init__(self, folder: Path, seed: int, stopwatch: Stopwatch) -> None:
        self.folder, self.seed, self.stopwatch = folder, seed, stopwatch
        self.started = time.strftime("%Y-%m-%d %H:%M:%S%z")
        self.tested: dict[str, Any] | None = None  # see `trainers.tested_checkpoint`
        self.starts: list[dict[str, str]] = []
        self.n_images = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a record of what was started; say if a run is resumed in another precision."""
        self.n_images = len(trainer.datamodule.table)  # type: ignore[attr-defined]
        now = {"started": self.started, "device": _device(pl_module.device)}
        now["precision"] = str(trainer.precision)
        if trainer.ckpt_path is not None and (self.folder / "run.json").exists():
            self.starts = read_json(self.folder / "run.json").get("starts", [])
        before = self.starts[-1]["precision"] if self.starts else now["precision"]
        if before != now["precision"] and trainer.is_global_zero:
            print(
                f"This run began in {before} and is resumed in {now['precision']}, so its numbers "
                "will differ from those of an uninterrupted run. To resume it as it began: "
                f"trainer.precision={before}"
            )
        self.starts.append(now)
        self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, int]:
        """Kept in each checkpoint, which may be moved away from its run's `split.csv`."""
        return {"n_images": self.n_images}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the training."""
        self._write(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the test."""
        self._write(trainer, pl_module)

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule: XrayDataModule = trainer.datamodule  # type: ignore[attr-defined]
        table = datamodule.table
        record = {
            "started": self.started,
            "starts": self.starts,
            "command": [without_passwords(word) for word in sys.argv],
            "git_commit": _git_commit(),
            "versions": {"python": platform.python_version()}
            | {package: version(package) for package in PACKAGES},
            "device": _device(pl_module.device),
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "precision": str(trainer.precision),
            "seed": self.seed,
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "images": {split: column.to_dict() for split, column in datamodule.counts().items()},
            "patients": table.groupby("split")["group"].nunique().to_dict(),
            "images_key": datamodule.images_key,
            "images_root": str(datamodule.index.root.resolve()),
            "store_key": datamodule.pixels.key,
            "white": datamodule.pixels.white,
            "notes": datamodule.index.notes,
            "ignored_files": datamodule.index.ignored,
            "unreadable_images": datamodule.unreadable,
            "tested": self.tested,
            **self.stopwatch.summary(),
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
