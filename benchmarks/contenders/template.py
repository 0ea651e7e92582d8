"""Lightning as lightning-hydra-template has it: metrics in the module, Trainer's defaults."""

from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer, callbacks
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.contenders.case import Case, adam
from benchmarks.contenders.clock import Clock
from benchmarks.contenders.student import image_loader


class LitModule(LightningModule):
    """A network, its loss, and running metrics of the training."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.network, self.case = case.network(channels=3), case
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
        return adam(self)


def run(case: Case) -> list[float]:
    """The clock at the end of each batch, in seconds."""
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision="bf16-mixed" if case.bf16 else "32-true",
        default_root_dir=Path.cwd(),
        logger=CSVLogger(Path.cwd()),
        callbacks=[
            callbacks.ModelCheckpoint(save_last=True),
            callbacks.EarlyStopping("train/loss", patience=100, check_on_train_epoch_end=True),
            callbacks.RichModelSummary(max_depth=-1),
            callbacks.RichProgressBar(),
            Clock(),
        ],
    )
    trainer.fit(LitModule(case), image_loader(case))
    return Clock.times["on_train_batch_end"]
