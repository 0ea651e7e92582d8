"""Hydra's way to `hparams_search=optuna`; the work is done in `cxr_lightning.sweeps.search`."""

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class OptunaSweeperConf:
    """Options of the sweeper; `conf/hparams_search/optuna.yaml` explains them."""

    _target_: str = "hydra_plugins.optuna_sweeper.OptunaSweeper"
    _recursive_: bool = False  # sampler and pruner are built later, with a seed
    n_trials: int = 30
    objectives: list[Any] = field(default_factory=list)  # a list is replaced, a mapping is merged
    params: dict[str, Any] = field(default_factory=dict)
    storage: str | None = None  # null: study.db in the sweep's folder
    study_name: str | None = None  # null: the sweep's name
    seed: int = 0
    sampler: dict[str, Any] = field(default_factory=dict)
    pruner: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="cxr_lightning"
)


class OptunaSweeper(Sweeper):
    """Draws each job's overrides from an Optuna study and tells it how the job ended."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher that will run the jobs."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study has `n_trials`; `arguments` beat the configured params."""
        from cxr_lightning.sweeps.search import Search

        options = typing.cast(
            dict[str, Any], OmegaConf.to_container(OmegaConf.create(self.options))
        )
        parser = OverridesParser.create()
        params = parser.parse_overrides([f"{k}={v}" for k, v in options.pop("params").items()])
        # By key: what is given on the command line takes the place of what is configured.
        overrides = {o.key_or_group: o for o in (*params, *parser.parse_overrides(arguments))}
        objectives = {k: v for one in options.pop("objectives") for k, v in one.items()}
        assert self.config is not None and self.launcher is not None
        folder = Path(self.config.hydra.sweep.dir).absolute()
        search = Search(
            folder=folder,
            overrides=list(overrides.values()),
            objectives=objectives,
            storage=options.pop("storage") or f"sqlite:///{folder}/study.db",
            study_name=options.pop("study_name") or folder.name,
            has_validation=OmegaConf.select(self.config, "split.val_fraction") != 0,
            **options,
        )
        search.run(self.launcher.launch, self.config.hydra.launcher.get("n_jobs") or 1)
