"""Training of the head alone, for the first epochs or for good."""

from typing import TYPE_CHECKING, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.models.network import head_of

if TYPE_CHECKING:
    from cxr_lightning.models.classifier import Classifier


class FrozenBody(Callback):
    """Trains only the network's last layer until `unfreeze_at_epoch`; null: to the end.

    A frozen layer keeps its weights and its batch-norm statistics. Unlike Lightning's
    BackboneFinetuning the optimizer knows all parameters from the start, so that schedules reach
    them too, and a resumed run needs no state. With `new_head` the last layer starts from random
    weights.
    """

    def __init__(self, unfreeze_at_epoch: int | None, new_head: bool = False) -> None:
        self.unfreeze_at_epoch, self.new_head = unfreeze_at_epoch, new_head

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the head new, and freeze, before several processes agree on what is trained.

        Raises `ConfigError` where they could not agree anew later.
        """
        if stage != "fit":
            return
        head, n_classes = head_of(_backbone(pl_module)), len(pl_module.hparams["classes"])
        n_outputs = next(iter(head.parameters())).shape[0]
        if n_outputs != n_classes:
            raise ConfigError(
                f"The last layer of this network, {head}, has {n_outputs} outputs for {n_classes} "
                "classes: it does not make the logits, so nothing else can be frozen."
            )
        reset = getattr(head, "reset_parameters", None)
        if self.new_head and callable(reset):
            reset()
        if self.unfreeze_at_epoch is None:
            self._freeze(pl_module, True)
            return
        asked = getattr(trainer.strategy, "_ddp_kwargs", {}).get("find_unused_parameters")
        if trainer.world_size > 1 and not asked:
            raise ConfigError(
                "A body that is frozen at first needs, on several devices, "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze, as the epoch wants."""
        end = self.unfreeze_at_epoch
        frozen = end is None or trainer.current_epoch < end
        self._freeze(pl_module, frozen)
        _backbone(pl_module).train(not frozen)

    def _freeze(self, pl_module: LightningModule, frozen: bool) -> None:
        backbone = _backbone(pl_module)
        head = {id(parameter) for parameter in head_of(backbone).parameters()}
        for parameter in backbone.parameters():
            parameter.requires_grad_(not frozen or id(parameter) in head)


def _backbone(pl_module: LightningModule) -> nn.Module:
    backbone: nn.Module = cast("Classifier", pl_module).network.backbone
    return backbone
