"""Training of the head alone, for the first epochs or for good."""

from typing import TYPE_CHECKING, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from cxr_lightning.errors import ConfigError
from cxr_lightning.models.network import head_of

if TYPE_CHECKING:
    from cxr_lightning.models.classifier import Classifier


class FrozenBody(Callback):
    """Trains only the network's last layer until `unfreeze_at_epoch`; null: to the end.

    A frozen layer keeps its weights and its batch-norm statistics. Unlike Lightning's
    BackboneFinetuning the optimizer knows all parameters from the start, so that schedules reach
    them too, and a resumed run needs no state.
    """

    def __init__(self, unfreeze_at_epoch: int | None, new_head: bool = False) -> None:
        self.unfreeze_at_epoch, self.new_head = unfreeze_at_epoch, new_head

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give a new training's last layer random weights, where that is asked for."""
        head = head_of(cast("Classifier", pl_module).network.backbone)
        reset = getattr(head, "reset_parameters", None)
        if self.new_head and stage == "fit" and callable(reset):
            reset()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze, as the epoch wants."""
        end = self.unfreeze_at_epoch
        frozen = end is None or trainer.current_epoch < end
        kwargs = getattr(trainer.strategy, "_ddp_kwargs", {})
        if frozen and trainer.world_size > 1 and not kwargs.get("find_unused_parameters"):
            raise ConfigError(
                "A frozen body on several devices needs "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )
        backbone = cast("Classifier", pl_module).network.backbone
        head = {id(parameter) for parameter in head_of(backbone).parameters()}
        for parameter in backbone.parameters():
            parameter.requires_grad_(not frozen or id(parameter) in head)
        backbone.train(not frozen)
