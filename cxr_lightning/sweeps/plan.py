"""The names of a sweep and its jobs; sweep.json: its command and jobs, before the first starts."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override, Quote, QuotedString

from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.folder import KEYS_IGNORED_ON_RESUME, REFUSED, job_state
from cxr_lightning.runs.writing import read_json, write_json

FILE = "sweep.json"
LONGEST_BYTES = 150  # file systems allow 255, and Hydra's and our own files add to a name
REPLICATES = ("seed", "split.seed", "split.fold")  # they repeat a cell; every other key makes one


@dataclass(frozen=True)
class Job:
    """A job: its folder's name and its values of the swept keys."""

    name: str
    values: dict[str, str]

    @property
    def cell(self) -> tuple[tuple[str, str], ...]:
        """What it shares with the other runs of its cell: keys and values."""
        return tuple((k, v) for k, v in self.values.items() if k not in REPLICATES)


@dataclass(frozen=True)
class Plan:
    """A sweep: its command, what all jobs share, what is swept, and the jobs in their order.

    A search (`hparams_search`) has no jobs before it draws them, only their number.
    """

    is_search: bool
    command: str
    fixed: list[str]
    swept: list[str]
    n_jobs: int
    jobs: list[Job]


def sweep_name(overrides: Sequence[Override]) -> str:
    """The same name for the same overrides, in any order: `model_augment_seed-1f0c3e`."""
    given = sorted(str(o.input_line) for o in overrides if o.key_or_group != "folder")
    keys = [o.key_or_group.rpartition(".")[2] for o in overrides if o.is_sweep_override()]
    return _hashed("_".join(keys) or "sweep", "\n".join(given))


def job_name(values: Mapping[str, str]) -> str:
    """`model-cnn5_augment-none`: a job's values of the swept keys, with a hash where too long.

    There is no `=` in it, so that Hydra reads it back as part of `ckpt_path=…`.
    """
    parts = [re.sub(r"[^\w.+-]+", "-", f"{k}-{v}").strip("-") for k, v in values.items()]
    name = "_".join(parts) or "run"
    return name if len(name.encode()) <= LONGEST_BYTES else _hashed(name, str(dict(values)))


def quoted(value: Any) -> str:
    """A value as Hydra's grammar reads it back, whatever is in it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return json.dumps(value)


def _hashed(name: str, unique: str) -> str:
    kept = name.encode()[:LONGEST_BYTES].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(unique.encode()).hexdigest()[:6]}"


def grid(overrides: Sequence[Override]) -> list[tuple[Job, list[str]]]:
    """The jobs that Hydra's own sweeper makes of the overrides, with the overrides of each.

    Raises ConfigError where two jobs would share a folder.
    """
    swept = swept_keys(overrides)
    jobs: dict[str, tuple[Job, list[str]]] = {}
    for of_job in BasicSweeper.split_arguments(list(overrides), max_batch_size=None)[0]:
        pairs = (word.lstrip("+").partition("=") for word in of_job)
        values = {key: value for key, _, value in pairs if key in swept}
        name = job_name(values)
        if name in jobs and jobs[name][0].values != values:
            raise ConfigError(
                f"{jobs[name][0].values} and {values} would share the folder {name}: only letters, "
                "digits and . _ + - tell names apart."
            )
        jobs[name] = (Job(name, values), of_job)
    return list(jobs.values())


def swept_keys(overrides: Sequence[Override]) -> list[str]:
    """The keys with several values, once each, in their order."""
    last = {o.key_or_group: o for o in overrides}
    return [key for key, override in last.items() if override.is_sweep_override()]


def write_plan(folder: Path, plan: Plan) -> Plan:
    """Write `sweep.json`; a sweep of other values under the same name keeps the jobs it started.

    Raises ConfigError where the folder holds a sweep over other keys, or with other fixed values.
    """
    if (folder / FILE).exists():
        earlier = read_plan(folder)
        differing = set(earlier.fixed) ^ set(plan.fixed) | set(earlier.swept) ^ set(plan.swept)
        # Where images lie makes no difference: each job compares the images themselves.
        no_matter = (*KEYS_IGNORED_ON_RESUME, "data.root", "data.manifest")
        differing = {word for word in differing if not word.lstrip("+").startswith(no_matter)}
        if not differing and earlier.swept != plan.swept:  # folders are named in this order
            differing = {f"the order of {', '.join(plan.swept)}"}
        if differing:
            raise ConfigError(
                f"{folder} holds another sweep; it differs in {', '.join(sorted(differing))}. "
                "Choose another name=…, delete the folder, or continue it with the same overrides "
                f"(what is swept may get other values): {earlier.command}"
            )
        names = {job.name for job in plan.jobs}
        started = [job for job in earlier.jobs if (folder / job.name).exists()]
        jobs = plan.jobs + [job for job in started if job.name not in names]
        plan = replace(plan, n_jobs=max(plan.n_jobs, len(jobs)), jobs=jobs)
        for job in plan.jobs:
            (folder / job.name / REFUSED).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, asdict(plan))
    return plan


def add_job(folder: Path, job: Job) -> None:
    """Add a job that a search has drawn; the caller holds the search's lock."""
    plan = read_plan(folder)
    if job.name not in {known.name for known in plan.jobs}:
        write_json(folder / FILE, asdict(replace(plan, jobs=[*plan.jobs, job])))


def read_plan(folder: Path) -> Plan:
    """The plan of the sweep in `folder`; raises DataError where there is none."""
    if not (folder / FILE).exists():
        raise DataError(
            f"{folder} holds no sweep: {FILE} is not there. A sweep is what `cxr-train -m` leaves "
            "in outputs/<name>."
        )
    content = read_json(folder / FILE)
    return Plan(**{**content, "jobs": [Job(**job) for job in content["jobs"]]})


def seconds_left(folder: Path) -> float | None:
    """How long the jobs that are not done will take, one after the other; None: not known yet.

    A job is taken to last as long as the finished ones of its cell, else as all finished ones.
    """
    plan = read_plan(folder)
    state = {job.name: job_state(folder / job.name) for job in plan.jobs}
    seconds: dict[object, list[float]] = {}
    for job in plan.jobs:
        if state[job.name] == "finished":
            with suppress(DataError, OSError):  # the tables name a damaged file
                parts = read_json(folder / job.name / "run.json")["seconds"].values()
                seconds.setdefault(job.cell, []).append(sum(parts))
    if not seconds:
        return None
    mean = fmean(chain(*seconds.values()))
    left = [job for job in plan.jobs if state[job.name] in ("unfinished", "waiting")]
    known = sum(fmean(seconds.get(job.cell, [mean])) for job in left)
    return known + mean * (plan.n_jobs - len(plan.jobs))  # those that a search has not drawn
