"""The one LightningModule: it hosts every backbone, loss and optimizer."""

import math
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from cxr_lightning.config import OptimConfig
from cxr_lightning.data.batches import share_done
from cxr_lightning.data.dataset import Batch
from cxr_lightning.instantiate import build, parameters
from cxr_lightning.metrics import compute_metrics
from cxr_lightning.models.losses import build_loss
from cxr_lightning.models.network import Network
from cxr_lightning.models.parameter_groups import parameter_groups
from cxr_lightning.models.predictions import EpochPredictions, Predictions

TRAIN_METRICS = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "recall/")
ON_PROGRESS_BAR = ("loss", "f1_macro")


def best_direction(metric: str) -> str:
    """Whether a metric's best value is its `max` or its `min`."""
    return "min" if metric.endswith("loss") else "max"


def logged_metrics(classes: list[str] | None) -> list[str]:
    """The names that a training logs; those of single classes end in `/` where none are known."""
    known = list(compute_metrics([0, 1], np.eye(2), ["a", "b"]))
    names = ["loss", *(name for name in known if "/" not in name)]
    names += [f"{name[:-1]}{k}" for name in known if name.endswith("/a") for k in classes or [""]]
    train = [f"train/{name}" for name in names if name.startswith(TRAIN_METRICS)]
    return [*(f"val/{name}" for name in names), *train, "time/train_epoch_s", "time/images_per_s"]


class Classifier(LightningModule):
    """Grey X-rays to class probabilities.

    Hyper-parameters are plain values, so that checkpoints load under `weights_only`; the network
    is rebuilt from them. After a split's epoch its predictions are in `predictions[split]`.
    """

    def __init__(
        self,
        *,
        network: dict[str, Any],  # the arguments of `Network` but num_classes
        classes: list[str],
        class_counts: list[int],  # training images of each class
        imbalance: dict[str, Any],  # this and `optim` as in conf
        optim: dict[str, Any],
        run: dict[str, Any] | None = None,  # all of the configuration, for `cxr-evaluate`
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.network = Network(**network, num_classes=len(classes))
        self.loss: nn.Module = build_loss(imbalance["loss"], class_counts)
        self.optim = OptimConfig(**optim)
        self.collectors = {s: EpochPredictions(classes) for s in ("train", "val", "test")}
        self.predictions: dict[str, Predictions] = {}
        self.temperature: float | None = None  # of a checkpoint that was calibrated
        self.n_images: int | None = None  # of its run, as a checkpoint says

    def use(self, network: nn.Module) -> None:
        """Let another network make the logits, from now on: one of `models.ensemble`."""
        self.network = network  # type: ignore[assignment]

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to logits (B, C), float32."""
        return self.network(image).float()  # type: ignore[no-any-return]

    def _step(self, batch: Batch, split: str) -> Tensor:
        logits = self(batch.image)
        loss: Tensor = self.loss(logits, batch.label)
        # Of mixed images, the class with the larger share.
        label = batch.label if batch.label.ndim == 1 else batch.label.argmax(dim=1)
        self.collectors[split].update(logits, label, batch.row, loss)
        return loss

    def on_train_epoch_start(self) -> None:
        """Tell a loss that changes on the way how far the training is."""
        set_progress = getattr(self.loss, "set_progress", None)
        if callable(set_progress):
            set_progress(share_done(self.trainer))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a training batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect a validation batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect a test batch."""
        self._step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (B,), class probabilities (B, C) and the labels as they came (B,)."""
        return batch.row, torch.softmax(self(batch.image).double(), dim=1), batch.label

    def on_train_epoch_end(self) -> None:
        """Log a few training metrics; augmented images, weights that moved during the epoch."""
        self._log_epoch("train", TRAIN_METRICS)

    def on_validation_epoch_end(self) -> None:
        """Log every validation metric."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log every test metric."""
        self._log_epoch("test")

    def _log_epoch(self, split: str, only: tuple[str, ...] | None = None) -> None:
        collector = self.collectors[split]
        values = collector.compute()
        self.predictions[split] = collector.collected
        collector.reset()
        for name, value in values.items():
            if not math.isnan(value) and (only is None or name.startswith(only)):
                # Already the same on every rank. With sync_dist, the progress bar of rank 0 would
                # reduce alone, before the other ranks, and wait for ever (Lightning 2.6.6).
                on_bar = name in ON_PROGRESS_BAR and split != "test"
                self.log(f"{split}/{name}", value, prog_bar=on_bar)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and, if configured, a schedule; `total_steps: null` is filled in."""
        node = self.optim.optimizer
        if "fused" not in parameters(node):  # RMSprop, Adadelta …
            node = {key: value for key, value in node.items() if key != "fused"}
        elif node.get("fused") and self.trainer.gradient_clip_val:
            node = {**node, "fused": False}  # Lightning 2.6 does not clip where it is fused
        groups = parameter_groups(self.network, self.optim)
        optimizer = build(node, params=groups)
        schedule = self.optim.scheduler
        if schedule is None:
            return optimizer  # type: ignore[no-any-return]
        if schedule.get("total_steps", 0) is None:
            schedule = {**schedule, "total_steps": int(self.trainer.estimated_stepping_batches)}
        if "max_lr" in schedule:  # OneCycleLR would give all groups the same rate
            rates = [group["lr"] / self.optim.lr for group in optimizer.param_groups]
            schedule = {**schedule, "max_lr": [schedule["max_lr"] * rate for rate in rates]}
        lr_scheduler: dict[str, Any] = {"interval": self.optim.interval}
        if str(schedule["_target_"]).endswith("ReduceLROnPlateau"):
            monitor = self.optim.monitor or "train/loss"
            schedule = {"mode": best_direction(monitor), **schedule}
            lr_scheduler |= {"interval": "epoch", "monitor": monitor}
        lr_scheduler["scheduler"] = build(schedule, optimizer=optimizer)
        return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}  # type: ignore[return-value]
