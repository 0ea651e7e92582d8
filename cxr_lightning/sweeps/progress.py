"""What a sweep shows and writes around each of its jobs, whichever launcher runs them."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from cxr_lightning.sweeps.plan import read_plan, seconds_left


class SweepProgress(Callback):
    """Tells how far a sweep is, and keeps its tables up to date."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Print which job of how many this is, and the time left."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        from cxr_lightning.sweeps.table import short

        folder = Path(config.folder)
        plan = read_plan(folder.parent)
        number = [job.name for job in plan.jobs].index(folder.name)
        drawn = plan.jobs[number].values if plan.is_search else {}
        parts = [folder.name, *(f"{key}={short(value)}" for key, value in drawn.items())]
        if left := seconds_left(folder.parent):
            at_once = max(1, config.hydra.launcher.get("n_jobs") or 1)
            parts.append(f"· {duration(left / at_once)} left")
        print(f"Job {number + 1} of {plan.n_jobs}: {' '.join(parts)}", flush=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Bring the tables up to date: they hold what is finished, whatever comes."""
        if config.hydra.mode == RunMode.MULTIRUN:
            from cxr_lightning.sweeps.table import write_summary

            write_summary(Path(config.folder).parent)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
