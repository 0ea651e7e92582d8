"""sweep.json: a sweep's command and jobs, written before the first job starts."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.folder import JobState, job_state
from cxr_lightning.sweeps.naming import folder_name, values_of, words_about_runs

FILE = "sweep.json"
REPLICATES = ("seed", "split.seed", "split.fold")  # they repeat a cell; every other key makes one


@dataclass(frozen=True)
class Job:
    """A job: its folder's name and its values of the swept keys."""

    name: str
    values: dict[str, str]

    @property
    def cell(self) -> tuple[tuple[str, str], ...]:
        """What it shares with the other seeds of its cell: keys and values."""
        return tuple((k, v) for k, v in self.values.items() if k not in REPLICATES)


@dataclass(frozen=True)
class Plan:
    """A sweep: its command, what all jobs share, what is swept, and the jobs in their order.

    A search (`hparams_search`) has no jobs before it draws them, only their number. refused: jobs
    whose folder holds something else, and why; what is there counts for nothing.
    """

    is_search: bool
    command: list[str]
    fixed: list[str]
    swept: list[str]
    n_jobs: int
    jobs: list[Job]
    refused: dict[str, str] = field(default_factory=dict)


def plan_grid(command: Sequence[str], params: Mapping[str, str]) -> Plan:
    """The jobs that Hydra's own sweeper makes of `command`, in its order.

    params: `hydra.sweeper.params`, which the command line beats.

    Raises:
        ConfigError: two jobs would share a folder.
    """
    words = [f"{key}={value}" for key, value in params.items()] + words_about_runs(command)
    overrides = OverridesParser.create().parse_overrides(words)
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    fixed = sorted(str(o.input_line) for o in overrides if not o.is_sweep_override())
    of_jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    values = [values_of(words, swept) for words in of_jobs]
    jobs: dict[str, Job] = {}
    for of_job in values:
        name = folder_name(of_job)
        if name in jobs and jobs[name].values != of_job:
            raise ConfigError(
                f"{jobs[name].values} and {of_job} would have the same folder, {name}: characters "
                "other than letters, digits and . _ + - do not tell names apart."
            )
        jobs[name] = Job(name, of_job)
    return Plan(False, list(command), fixed, swept, len(values), list(jobs.values()))


def plan_search(command: Sequence[str], params: Mapping[str, str], n_trials: int) -> Plan:
    """A search's plan: what is swept, once the command line has beaten `params`."""
    words = [f"{key}={value}" for key, value in params.items()] + words_about_runs(command)
    overrides = OverridesParser.create().parse_overrides(words)
    of_key = {o.key_or_group: o for o in overrides}
    swept = [key for key, override in of_key.items() if override.is_sweep_override()]
    return Plan(True, list(command), [], swept, n_trials, [])


def write_plan(folder: Path, plan: Plan) -> Plan:
    """Write `sweep.json`; a sweep of other values under the same name keeps the jobs it started.

    Raises:
        ConfigError: the folder holds a sweep over other keys, or with other fixed values.
    """
    if (folder / FILE).exists():
        earlier = read_plan(folder)
        differing = set(earlier.fixed) ^ set(plan.fixed) | set(earlier.swept) ^ set(plan.swept)
        if not differing and earlier.swept != plan.swept:  # folders are named in this order
            differing = {f"the order of {', '.join(plan.swept)}"}
        if differing:
            raise ConfigError(
                f"{folder} holds another sweep; it differs in {', '.join(sorted(differing))}. "
                "Choose another name=…, delete the folder, or continue it with the same overrides "
                f"(what is swept may get other values): {' '.join(earlier.command)}"
            )
        names = {job.name for job in plan.jobs}
        started = [job for job in earlier.jobs if (folder / job.name).exists()]
        jobs = plan.jobs + [job for job in started if job.name not in names]
        n_jobs = max(plan.n_jobs, len(jobs))
        plan = replace(plan, n_jobs=n_jobs, jobs=jobs)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, asdict(plan))
    return plan


def refuse(folder: Path, job: str, reason: str) -> None:
    """Note in `sweep.json` that a job could not be run where its folder is."""
    content = json.loads((folder / FILE).read_text())
    content["refused"] = content.get("refused", {}) | {job: reason}
    _write(folder, content)


def state_of(folder: Path, plan: Plan, job: Job) -> JobState:
    """How far a job of the sweep in `folder` is."""
    return "failed" if job.name in plan.refused else job_state(folder / job.name)


def read_plan(folder: Path) -> Plan:
    """The plan of the sweep in `folder`, with jobs that a search has drawn since.

    Raises:
        DataError: no sweep is there.
    """
    if not (folder / FILE).exists():
        raise DataError(
            f"{folder} holds no sweep: {FILE} is not there. A sweep is what `cxr-train -m` leaves "
            "in outputs/<name>."
        )
    content = json.loads((folder / FILE).read_text())
    jobs = [Job(**job) for job in content.pop("jobs")]
    known = {job.name for job in jobs}
    for listed in sorted(folder.glob("*/.hydra/overrides.yaml")):
        name = listed.parent.parent.name
        if name not in known:
            # Not resolved: what they refer to is a key of the run.
            words = OmegaConf.to_container(OmegaConf.load(listed), resolve=False)
            assert isinstance(words, list)
            jobs.append(Job(name, values_of([str(word) for word in words], content["swept"])))
    return Plan(**content, jobs=jobs)


def swept_by(run: Path) -> dict[str, str]:
    """The values of the swept keys of the job whose folder `run` is; none of a single run."""
    if not (run.parent / FILE).exists():
        return {}
    jobs = read_plan(run.parent).jobs
    return next((job.values for job in jobs if job.name == run.name), {})


def seconds_left(folder: Path) -> float | None:
    """How long the jobs that are not done will take, one after the other; None: not known yet.

    A job is taken to last as long as the finished ones of its cell, else as the finished ones with
    the most values in common.
    """
    plan = read_plan(folder)
    seconds = {job.name: _seconds(folder / job.name) for job in plan.jobs}
    done = [job for job in plan.jobs if seconds[job.name] is not None]
    if not done:
        return None
    total = 0.0
    for job in plan.jobs:
        if state_of(folder, plan, job) in ("unfinished", "waiting"):
            alike = max(_in_common(job, other) for other in done)
            times = [seconds[o.name] for o in done if _in_common(job, o) == alike]
            total += statistics.fmean(t for t in times if t is not None)
    not_drawn = plan.n_jobs - len(plan.jobs) if plan.is_search else 0
    return total + not_drawn * statistics.fmean(t for t in seconds.values() if t is not None)


def _seconds(folder: Path) -> float | None:
    if job_state(folder) != "finished":
        return None
    return float(sum(json.loads((folder / "run.json").read_text())["seconds"].values()))


def _in_common(one: Job, other: Job) -> int:
    return len(set(one.cell) & set(other.cell))


def _write(folder: Path, content: dict[str, Any]) -> None:
    temporary = folder / f"{FILE}.new"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(folder / FILE)
