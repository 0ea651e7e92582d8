"""Hydra's sweepers of `cxr-train -m`: they name the jobs, and tell each job its name and folder.

A job is the single run `cxr-train name=<sweep>/<job> folder=… key=value …`, whoever starts it: a
launcher needs to know nothing of sweeps.
"""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from cxr_lightning.errors import CxrError, TrainingError
from cxr_lightning.runs.folder import JobState, job_state
from cxr_lightning.runs.writing import without_passwords
from cxr_lightning.sweeps import plan as plans


class GridSweeper(BasicSweeper):
    """Every combination of the values on the command line, each in a folder of its own."""

    def __init__(self, params: dict[str, str] | None = None, max_batch_size: int | None = None):
        # Not Hydra's own __init__: as Hydra looks for plugins, it executes its modules once more,
        # and the class that it names there is another one by then.
        self.params, self.max_batch_size = params or {}, max_batch_size

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Fix the sweep's folder, before the launcher is made, which may write there."""
        parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        given = parser.parse_overrides([*self._parse_config(), *config.hydra.overrides.task])
        # By key: the command line beats `params`.
        self.given: list[Override] = list({o.get_key_element(): o for o in given}.values())
        raw: Any = OmegaConf.to_container(config, resolve=False)
        if raw["name"].startswith("${now:"):  # nobody has named it
            with read_write(config):
                config.name = plans.sweep_name([o for o in self.given if o.key_or_group != "name"])
        self.name, self.folder = str(config.name), Path(config.folder).absolute()
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run every job of the grid, then write the report.

        Raises:
            TrainingError: a job failed or did not finish.
        """
        jobs = plans.grid(self.given)
        self._start(len(jobs), [job for job, _ in jobs])
        batch = [[*words, *self.place(job.name)] for job, words in jobs]
        self.validate_batch_is_legal(batch)
        assert self.launcher is not None
        first, problem = 0, ""
        for chunk in self.split_overrides_to_chunks(batch, self.max_batch_size):
            try:
                self.launcher.launch(chunk, initial_job_idx=first)
            except CxrError:
                raise
            except Exception as error:  # a launcher may raise what a job did; the folders tell more
                problem = f". The launcher said: {type(error).__name__}: {error}"
            first += len(chunk)
        self._finish(problem)

    def place(self, job: str) -> list[str]:
        """The overrides that tell a job its name and its folder."""
        return [
            f"name={plans.quoted(f'{self.name}/{job}')}",
            f"folder={plans.quoted(str(self.folder / job))}",
        ]

    def _start(self, n_jobs: int, jobs: list[plans.Job], is_search: bool = False) -> None:
        """Write the plan, and say how many jobs there are and how far they are."""
        assert self.config is not None
        typed = self.config.hydra.overrides
        of_hydra = [word for word in typed.hydra if not word.startswith("hydra.mode=")]
        command = without_passwords(shlex.join(["cxr-train", "-m", *typed.task, *of_hydra]))
        shared = [o for o in self.given if o.key_or_group not in ("name", "folder")]
        fixed = sorted(str(o.input_line) for o in shared if not o.is_sweep_override())
        plan = plans.Plan(is_search, command, fixed, plans.swept_keys(self.given), n_jobs, jobs)
        plan = plans.write_plan(self.folder, plan)
        counts = Counter(job_state(self.folder / job.name) for job in plan.jobs)
        states: tuple[JobState, ...] = ("finished", "pruned", "unfinished", "failed")
        told = [f"{counts[state]} {state}" for state in states if counts[state]]
        here = self.folder.is_relative_to(Path.cwd())
        shown = self.folder.relative_to(Path.cwd()) if here else self.folder
        of_which = f", of which {', '.join(told)}" if told else ""
        print(f"Sweep {shown}: {plan.n_jobs} jobs{of_which}")

    def _finish(self, problem: str = "") -> None:
        """Write the report; raises TrainingError where a job has neither results nor was pruned."""
        from cxr_lightning.sweeps.page import write_report

        write_report(self.folder)
        states = {
            j.name: job_state(self.folder / j.name) for j in plans.read_plan(self.folder).jobs
        }
        how = {"failed": "failed", "unfinished": "did not end", "waiting": "did not start"}
        sentences = []
        for state, ended in how.items():
            if names := [name for name, reached in states.items() if reached == state]:
                more = f" and {len(names) - 10} more" if len(names) > 10 else ""
                jobs = "1 job" if len(names) == 1 else f"{len(names)} jobs"
                sentences.append(f"{jobs} {ended}: {', '.join(names[:10])}{more}")
        if sentences:
            raise TrainingError("; ".join(sentences) + problem)


class SearchSweeper(GridSweeper):
    """Each job's overrides are drawn from an Optuna study, which learns how the job ended."""

    def __init__(
        self, params: dict[str, str], max_batch_size: int | None = None, **options: Any
    ) -> None:
        super().__init__(params, max_batch_size)
        self.options = options  # of `Search`; conf/hparams_search/optuna.yaml explains them

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study has `n_trials`, then write the report."""
        from cxr_lightning.sweeps.search import Search, own_study, run_search

        assert self.config is not None and self.launcher is not None
        options: Any = OmegaConf.to_container(OmegaConf.create(self.options))
        given = {
            "objectives": {k: v for one in options["objectives"] for k, v in one.items()},
            "storage": options["storage"] or f"sqlite:///{self.folder}/study.db",
            "study_name": options["study_name"] or own_study(self.folder) or self.folder.name,
            "has_validation": OmegaConf.select(self.config, "split.val_fraction") != 0,
        }
        search = Search(
            folder=self.folder, overrides=self.given, place=self.place, **options | given
        )
        self._start(search.n_trials, search.jobs(), is_search=True)
        run_search(search, self.launcher, self.config.hydra.launcher.get("n_jobs") or 1)
        self._finish()
