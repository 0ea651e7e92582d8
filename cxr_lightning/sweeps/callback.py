"""What a sweep shows and writes around its jobs, whichever launcher runs them."""

import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from cxr_lightning.errors import CxrError
from cxr_lightning.runs.folder import JobState
from cxr_lightning.sweeps.naming import values_of
from cxr_lightning.sweeps.plan import (
    plan_grid,
    plan_search,
    read_plan,
    seconds_left,
    state_of,
    write_plan,
)


class SweepProgress(Callback):
    """Plans a sweep, tells how far it is, and keeps its tables up to date."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write `sweep.json` and say what is to do."""
        folder, sweeper = Path(config.hydra.sweep.dir), config.hydra.sweeper
        params = dict(sweeper.get("params") or {})
        is_search = "n_trials" in sweeper
        try:
            plan = (
                plan_search(sys.argv, params, sweeper.n_trials)
                if is_search
                else plan_grid(sys.argv, params)
            )
            plan = write_plan(folder, plan)
        except CxrError as error:  # Hydra would make a warning of it and go on
            _exit(str(error))
        states = [state_of(folder, plan, job) for job in plan.jobs]
        counts = Counter(states)
        kinds: tuple[JobState, ...] = ("finished", "pruned", "unfinished", "failed")
        held = ", ".join(f"{counts[state]} {state}" for state in kinds if counts[state])
        print(f"Sweep {folder}: {plan.n_jobs} jobs" + (f", of which {held}" if held else ""))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Print which job of how many this is, and the time left."""
        if config.hydra.mode == RunMode.MULTIRUN:
            from cxr_lightning.sweeps.table import short

            folder = Path(config.hydra.sweep.dir)
            name = Path(config.hydra.runtime.output_dir).name
            left = seconds_left(folder)
            if left is not None:
                left /= config.hydra.launcher.get("n_jobs") or 1
            plan = read_plan(folder)
            drawn = values_of(config.hydra.overrides.task, plan.swept) if plan.is_search else {}
            words = [name, *(f"{key}={short(value)}" for key, value in drawn.items())]
            words += [f"· {duration(left)} left"] if left else []
            number = f"Job {config.hydra.job.num + 1} of {plan.n_jobs}"
            print(f"{number}: {' '.join(words)}", flush=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Bring the tables up to date: they hold what is finished, whatever comes."""
        if config.hydra.mode == RunMode.MULTIRUN:
            from cxr_lightning.sweeps.table import write_summary

            write_summary(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report, print the table and where to look; exit with 1 if a job failed."""
        from cxr_lightning.sweeps.report import write_report

        folder = Path(config.hydra.sweep.dir)
        plan = read_plan(folder)
        failed = [job.name for job in plan.jobs if state_of(folder, plan, job) == "failed"]
        try:
            write_report(folder)
        except Exception:  # Hydra would make a warning of it and exit with 0
            traceback.print_exc()
            _exit(f"the report of {folder} could not be written; the jobs' results are there")
        if failed:
            _exit(f"{len(failed)} jobs failed: {', '.join(failed)}")


def _exit(sentence: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).stem}: {sentence}", file=sys.stderr, flush=True)
    sys.exit(1)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
