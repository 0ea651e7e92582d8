"""Batch-norm statistics measured anew before each validation, instead of averaged on the way."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def measure_again(network: nn.Module, images: Iterable[Tensor]) -> list[Tensor]:
    """Set the running statistics to their mean over `images`, batches (B, 1, H, W).

    Nothing else changes. Frozen layers keep theirs: what follows was trained on them. Returns the
    statistics. "Precise BN": Wu & Johnson, arXiv:2105.07576, section 3.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    norms = [norm for norm in norms if all(p.requires_grad for p in norm.parameters())]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches
        norm.train()
    if norms:
        with torch.no_grad():
            for batch in images:
                network(batch)
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.train(training)
    both = [(norm.running_mean, norm.running_var) for norm in norms]
    return [statistic for pair in both for statistic in pair if statistic is not None]


class BatchNormStatistics(Callback):
    """Measures the statistics on `n_images` training images: of the weights as they are now.

    The running averages that batch norm keeps are of the weights of many steps; after large steps
    they fit none of them, and the validation curve jumps. Where weights are averaged, those of the
    average are measured. An epoch without validation measures them at its end. Training itself does
    not read the statistics and stays the same.
    """

    def __init__(self, n_images: int = 2000) -> None:
        self.n_images = n_images
        self._measured_in = -1  # the last epoch

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure before the first batch, when averaged weights are in their place."""
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fits and batch_idx == 0 and dataloader_idx == 0:
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where nothing was validated, before the checkpoint is written."""
        if self._measured_in == trainer.current_epoch:
            return
        averaging = [c for c in trainer.callbacks if isinstance(c, WeightAveraging)]  # type: ignore[attr-defined]
        for callback in averaging:  # its way to put the average in its place, and back
            callback.on_validation_epoch_start(trainer, pl_module)
        self._measure(trainer, pl_module)
        for callback in averaging:
            callback.on_validation_epoch_end(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measured_in = trainer.current_epoch
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        with isolate_rng(), trainer.precision_plugin.forward_context():
            loader = datamodule.train_dataloader()
            n_batches = -(-self.n_images // (loader.batch_size * trainer.world_size))
            images = (batch.image.to(pl_module.device) for batch in islice(loader, n_batches))
            for statistic in measure_again(pl_module.network, images):  # type: ignore[arg-type]
                statistic.copy_(trainer.strategy.reduce(statistic, reduce_op="mean"))
