"""Hydra's way to `hydra/launcher=processes`; the work is done in `cxr_lightning.sweeps`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cxr_lightning.sweeps.naming import quoted

if TYPE_CHECKING:
    from cxr_lightning.sweeps.processes import Process


@dataclass
class ProcessesLauncherConf:
    """Options of the launcher."""

    _target_: str = "hydra_plugins.processes_launcher.ProcessesLauncher"
    n_jobs: int | None = None  # slots; null: as many as there are GPUs, else one
    grace_s: float = 30.0  # how long a job may take to end after Ctrl-C or SIGTERM


ConfigStore.instance().store(
    group="hydra/launcher",
    name="processes",
    node=ProcessesLauncherConf,
    provider="cxr_lightning",
)


class ProcessesLauncher(Launcher):
    """Runs the jobs of a sweep side by side on this machine, each in a fresh process."""

    def __init__(self, n_jobs: int | None, grace_s: float) -> None:
        self.n_jobs, self.grace_s = n_jobs, grace_s

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what `launch` needs."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; one that fails is told of and does not stop the others."""
        from cxr_lightning.sweeps.processes import Process, run_processes

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [
            self._job(list(overrides), initial_job_idx + i)
            for i, overrides in enumerate(job_overrides)
        ]
        returns = {}

        def started(job: Process) -> None:
            self.context.callbacks.on_job_start(config=job.config, task_function=self.task)

        def ended(job: Process) -> None:
            returned = JobReturn()
            returned.overrides, returned.cfg = job.overrides, job.config
            returned.return_value, returned.status = None, JobStatus.COMPLETED
            returns[job.folder] = returned
            self.context.callbacks.on_job_end(config=job.config, job_return=returned)

        run_processes(jobs, self.n_jobs, self.grace_s, started, ended)
        return [returns[job.folder] for job in jobs]

    def _job(self, overrides: list[str], number: int) -> "Process":
        from cxr_lightning.sweeps.processes import Process

        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # for the ${hydra:…} in names
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)
        given = {override.partition("=")[0].lstrip("+") for override in overrides}
        if "name" in config and "name" not in given:
            overrides = [*overrides, f"name={quoted(config.name)}"]
        return Process(
            config=config,
            command=config.hydra.job.name,
            overrides=overrides,
            hydra_overrides=[
                *_forwarded(OmegaConf.to_container(self.config.hydra.overrides.hydra)),
                f"hydra.run.dir={quoted(str(folder))}",
            ],
            folder=folder,
            devices=_devices(config),
        )


def _forwarded(overrides: object) -> list[str]:
    """Hydra's own overrides, without those that say how a sweep is run."""
    assert isinstance(overrides, list)
    ours = ("mode", "launcher", "sweeper", "sweep", "run")
    kept = []
    for override in map(str, overrides):
        key = override.lstrip("+~").partition("=")[0].replace("hydra/", "hydra.")
        if key.split(".")[1:2] and key.split(".")[1] not in ours:
            kept.append(override)
    return kept


def _devices(config: DictConfig) -> int:
    """How many devices a job asks for; `auto` is one, or its neighbours' would be taken too."""
    devices = OmegaConf.select(config, "trainer.devices")
    return devices if isinstance(devices, int) and devices > 0 else 1
