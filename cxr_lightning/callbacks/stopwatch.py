"""How long a run takes, how much of it waits for data, and how much memory it needs."""

import statistics
import sys
import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from cxr_lightning.data.dataset import Batch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class Stopwatch(Callback):
    """Times the epochs, the fit and the test of a run; `summary` is written to run.json.

    Attributes:
        epoch_s: seconds of each epoch's training batches, without validation.
        wait_s: of these, how long the loop had no batch to work on. With loader workers, a long
            wait means that they are the bottleneck; without them, it is the time of reading and
            augmenting. On a GPU, the processor waits, while the GPU may still have work.
        images: how many images each epoch trained on, over all processes.
        seconds: of `fit` (with everything between epochs) and of `test`.
    """

    def __init__(self) -> None:
        self.epoch_s: list[float] = []
        self.wait_s: list[float] = []
        self.images: list[int] = []
        self.seconds: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._fit_before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The training's seconds so far, for a checkpoint."""
        epochs = {"epoch_s": self.epoch_s, "wait_s": self.wait_s, "images": self.images}
        return {**epochs, "fit": self._fit_s()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The training's seconds before it was interrupted; not those of a tested checkpoint."""
        if "fit" in self.seconds:
            return
        for name in ("epoch_s", "wait_s", "images"):
            setattr(self, name, state_dict[name])
        self._fit_before = state_dict["fit"]

    def _fit_s(self) -> float:
        return self._fit_before + time.perf_counter() - self._since["fit"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since["fit"] = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an epoch's clock."""
        self._since["epoch"] = self._since["wait"] = time.perf_counter()
        self._wait_s, self._images = 0.0, 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Stop waiting: a batch has come."""
        self._wait_s += time.perf_counter() - self._since["wait"]
        self._images += len(batch.label)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Wait for the next batch, or stop the epoch's clock at the last one."""
        self._since["wait"] = time.perf_counter()
        if not trainer.is_last_batch:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.epoch_s.append(time.perf_counter() - self._since["epoch"])
        self.wait_s.append(self._wait_s)
        self.images.append(self._images * trainer.world_size)
        of_epoch = {
            "train_epoch_s": self.epoch_s[-1],
            "images_per_s": self.images[-1] / self.epoch_s[-1],
            "data_wait": self.wait_s[-1] / self.epoch_s[-1],
        }
        for name, value in of_epoch.items():
            pl_module.log(f"time/{name}", value, on_step=False, on_epoch=True, rank_zero_only=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the training's seconds."""
        self.seconds["fit"] = self._fit_s()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since["test"] = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the test's seconds."""
        self.seconds["test"] = time.perf_counter() - self._since["test"]

    def summary(self) -> dict[str, Any]:
        """Medians over epochs of seconds and of images per second; share of waiting; seconds."""
        speeds = [n / s for n, s in zip(self.images, self.epoch_s, strict=True)]
        return {
            "epochs": len(self.epoch_s),
            "train_epoch_s": statistics.median(self.epoch_s) if self.epoch_s else None,
            "images_per_s": statistics.median(speeds) if speeds else None,
            "data_wait": sum(self.wait_s) / sum(self.epoch_s) if self.epoch_s else None,
            "peak_memory_mb": peak_memory_mb(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def peak_memory_mb() -> dict[str, float]:
    """The largest memory so far, in MiB: the resident set of this process without its loader
    workers, and the tensors on each GPU that it used."""
    memory = {}
    if resource is not None:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        memory["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    for number in range(torch.cuda.device_count()):
        if used := torch.cuda.max_memory_allocated(number):
            memory[f"cuda:{number}"] = used / 2**20
    return memory
