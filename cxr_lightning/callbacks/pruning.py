"""Ends a trial of a search early where its validation curve is hopeless."""

import math
from pathlib import Path

import optuna
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from cxr_lightning.config import SearchConfig
from cxr_lightning.instantiate import build
from cxr_lightning.runs.database import open_storage
from cxr_lightning.runs.writing import write_json


class Pruning(Checkpoint):
    """Reports the first objective to the study after each epoch, and stops when Optuna says so.

    Optuna's own integration reports an epoch again after a resume and knows no pytorch-lightning
    2.6. A `Checkpoint`, because those are called after the module has logged its metrics.

    Attributes:
        pruned: whether the training was stopped; `pruned.json` says when.
    """

    def __init__(self, search: SearchConfig, folder: Path) -> None:
        self.search, self.folder, self.pruned = search, folder, False
        self.objective = next(iter(search.objectives))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report and ask, on the first process; all do as it says."""
        if trainer.is_global_zero:
            self.pruned = self._is_hopeless(trainer)
        self.pruned = trainer.strategy.broadcast(self.pruned)
        trainer.should_stop = trainer.should_stop or self.pruned

    def _is_hopeless(self, trainer: Trainer) -> bool:
        value = trainer.callback_metrics.get(self.objective)
        if value is None or not self.search.pruner:
            return False
        study = optuna.load_study(
            study_name=self.search.study,
            storage=open_storage(self.search.storage),
            pruner=build(self.search.pruner),
        )
        known = study.get_trials(deepcopy=False)[self.search.trial]
        trial = optuna.trial.Trial(study, known._trial_id)
        if trainer.current_epoch not in known.intermediate_values:  # else: a resumed run's
            trial.report(value.item(), trainer.current_epoch)
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # Resumed from an earlier epoch: Optuna would judge it by the later ones of its last start.
        is_behind = any(epoch > trainer.current_epoch for epoch in known.intermediate_values)
        if is_last or is_behind or not trial.should_prune():
            return False
        reached = value.item() if math.isfinite(value.item()) else None
        record = {"epoch": trainer.current_epoch, self.objective: reached}
        write_json(self.folder / "pruned.json", record)
        return True
