"""(b) Lightning as lightning-hydra-template has it: metrics in the module, Trainer's defaults."""

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    RichModelSummary,
    RichProgressBar,
)
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.training.case import LEARNING_RATE, Case, computes_in_bf16
from benchmarks.training.clock import Clock
from benchmarks.training.student import image_folder


class LitModule(LightningModule):
    """A network, its loss, and running metrics of the training."""

    def __init__(self, network: nn.Module, case: Case) -> None:
        super().__init__()
        self.network, self.case = network, case
        self.criterion = nn.CrossEntropyLoss()
        self.train_loss = MeanMetric()
        self.train_accuracy = MulticlassAccuracy(len(case.classes), average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss, with both metrics logged by epoch and shown on the bar."""
        image, label = batch
        logits = self.network(self.case.formatted(image))
        loss: Tensor = self.criterion(logits, label)
        self.train_loss(loss)
        self.train_accuracy(logits.argmax(dim=1), label)
        for name, metric in (("loss", self.train_loss), ("acc", self.train_accuracy)):
            self.log(f"train/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)


def run(case: Case) -> list[float]:
    """The clock at each batch's end, seconds."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        image_folder(case), case.batch_size, shuffle=True, num_workers=case.workers
    )
    clock = Clock()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision="bf16-mixed" if case.same and computes_in_bf16() else "32-true",
        default_root_dir=case.folder,
        logger=CSVLogger(case.folder),
        callbacks=[
            ModelCheckpoint(save_last=True),
            EarlyStopping("train/loss", patience=100, check_on_train_epoch_end=True),
            RichModelSummary(max_depth=-1),
            RichProgressBar(),
            clock,
        ],
    )
    trainer.fit(LitModule(case.network(channels=3), case), loader)
    return clock.ends
