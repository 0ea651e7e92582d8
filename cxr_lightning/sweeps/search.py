"""A search by Optuna: which trial is next, and how each one ended; the study is the only memory.

A trial is a job in the folder `trial-<number>`. A worker holds a lock on a file of its own as long
as it lives; a trial that is RUNNING for a worker whose lock is free was killed: it goes back to
WAITING with its parameters, is the next to run, and its job continues from its last checkpoint. So
a study has `n_trials` trials however often it was interrupted.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.override_parser.types import Override

from cxr_lightning.errors import ConfigError
from cxr_lightning.instantiate import build
from cxr_lightning.sweeps import naming
from cxr_lightning.runs.folder import KEYS_IGNORED_ON_RESUME, job_state

try:
    import optuna
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise ConfigError(
        "hparams_search=optuna needs Optuna: pip install 'cxr-lightning[search]'"
    ) from error

from cxr_lightning.sweeps.objectives import check_objectives, directions, objective_values
from cxr_lightning.sweeps.plan import REPLICATES
from cxr_lightning.sweeps.space import Point, distribution, size, unseen, words
from cxr_lightning.sweeps.workers import is_gone, worker

MOST_INTERRUPTIONS = 3  # a trial that takes its worker down each time is not tried for ever
FIRST = 3  # a search whose first trials all fail would only use up its trials
DRAWS = 20
Launch = Callable[[list[list[str]], int], Any]


class Search:
    """A study and the jobs that answer it."""

    def __init__(
        self,
        *,
        folder: Path,
        overrides: Sequence[Override],
        n_trials: int,
        objectives: dict[str, str],
        storage: str,
        study_name: str,
        sampler: dict[str, Any],
        pruner: dict[str, Any],
        seed: int = 0,
        has_validation: bool = True,
    ) -> None:
        """Open the study, or the one that is there.

        Args:
            folder: the sweep's.
            overrides: swept ones are the space, the others are the same in all trials.
            n_trials: in all, those of earlier starts included.
            objectives: a logged metric of an epoch → maximize or minimize; the first one's best
                epoch is a trial's value, the others are read at that epoch.
            storage: URL of a database.
            sampler, pruner: `_target_` nodes; the sampler gets a seed of its own at each draw.
            has_validation: whether the runs have validation images.

        Raises:
            ConfigError: nothing to search, no or wrong objectives, a sampler or pruner that cannot
            be built, or a folder that holds another search.
        """
        check_objectives(objectives, has_validation)
        # Optuna prunes by one value only. NopPruner may have arguments left of the configured one.
        prunes = len(objectives) == 1 and not pruner.get("_target_", "").endswith(".NopPruner")
        pruner = pruner if prunes else {}
        for node in filter(None, (sampler, pruner)):
            build(node)  # what cannot be built is better known now than in each trial
        self.folder, self.n_trials, self.objectives = folder, n_trials, objectives
        self.seed, self.sampler = seed, sampler
        swept = {str(o.input_line): o for o in overrides if o.is_sweep_override()}
        self.space = {o.key_or_group: distribution(o) for o in swept.values()}
        self.added = {o.key_or_group: "+" * _pluses(line) for line, o in swept.items()}
        self.fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
        if not self.space:
            raise ConfigError("Nothing to search: hydra.sweeper.params is empty.")
        if luck := self.space.keys() & set(REPLICATES):
            raise ConfigError(
                f"{', '.join(sorted(luck))} cannot be searched: the best seed is the luckiest one."
            )
        if n_trials < 1:
            raise ConfigError(f"hydra.sweeper.n_trials={n_trials}: at least 1 is needed.")
        self.search = {
            "study": study_name,
            "storage": storage,
            "objectives": objectives,
            "pruner": pruner,
        }
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "study.lock"):  # a new database is made by one worker
            self.storage = open_storage(storage)
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=study_name,
                directions=directions(objectives),
                load_if_exists=True,
            )
            self._refuse_another_search()

    def run(self, launch: Launch, batch_size: int = 1) -> None:
        """Run trials until there are `n_trials`, `batch_size` at once; print the best."""
        with worker(self.folder) as name:
            own: list[optuna.trial.Trial] = []
            try:
                while own := self._next(name, batch_size):
                    # A job's folder is an override: the numbers of a batch may have gaps.
                    launch([self._overrides(trial) for trial in own], own[0].number)
                    for trial in own:
                        self._tell(trial)
                    self._stop_if_all_fail()
            except BaseException:
                for trial in own:
                    if trial.number in {t.number for t in self._trials(TrialState.RUNNING)}:
                        self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                raise
        print(best_in_words(self.study, self.objectives))

    def _next(self, worker: str, n: int) -> list[optuna.trial.Trial]:
        """Up to n trials to run, marked as this worker's: interrupted ones, then new ones."""
        with FileLock(self.folder / "study.lock"):  # one worker draws at a time
            self._put_back_killed(worker)
            trials: list[optuna.trial.Trial] = []
            while len(trials) < n:
                if not self._trials(TrialState.WAITING):
                    point = self._draw() if len(self._trials()) < self.n_trials else None
                    if point is None:
                        break
                    self.study.enqueue_trial(point)
                trial = self.study.ask(self.space)
                trial.set_user_attr("worker", worker)
                trial.set_user_attr("folder", str(self.folder))
                trials.append(trial)
            return trials

    def _draw(self) -> Point | None:
        """A point that no trial has; None where there is none left."""
        trials = self._trials()
        seen = [trial.params or trial.system_attrs.get("fixed_params", {}) for trial in trials]
        for attempt in range(DRAWS):
            # A study of its own, so that a repeated point leaves no trace in the real one. The seed
            # depends on the trials there are: a resumed search does not draw the same again.
            number = self.seed + 1000 * len(trials) + attempt
            scratch = optuna.create_study(
                directions=directions(self.objectives), sampler=build(self.sampler, seed=number)
            )
            scratch.add_trials([trial for trial in trials if trial.state.is_finished()])
            point = scratch.ask(self.space).params
            if point not in seen:
                return point
        if math.isinf(size(self.space)):
            return point
        left = unseen(self.space, seen)
        if not left:
            print(f"All {len(seen)} points of the space have been tried: the search ends here.")
            return None
        return random.Random(number).choice(left)

    def _overrides(self, trial: optuna.trial.Trial) -> list[str]:
        search = self.search | {"trial": trial.number}
        folder = f"trial-{trial.number:03d}"
        return [
            *self.fixed,
            *words(trial.params, self.added),
            f"search={quoted(search)}",
            f"hydra.sweep.subdir={folder}",
        ]

    def _tell(self, trial: optuna.trial.Trial) -> None:
        folder = self.folder / f"trial-{trial.number:03d}"
        state = job_state(folder)
        if state == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
            return
        values = objective_values(folder, self.objectives) if state == "finished" else None
        if values is None or not all(math.isfinite(value) for value in values):
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, values)

    def _put_back_killed(self, worker: str) -> None:
        for trial in self._trials(TrialState.RUNNING):
            owner = trial.user_attrs.get("worker")
            elsewhere = Path(trial.user_attrs.get("folder", self.folder))
            if elsewhere != self.folder and elsewhere.exists():
                continue  # a sweep with the same storage, whose workers are told there
            if owner != worker and (owner is None or is_gone(self.folder, owner)):
                self._put_back(trial._trial_id)

    def _refuse_another_search(self) -> None:
        """Only n_trials, sampler and pruner may differ from what the study was started with.

        Raises:
            ConfigError: the study's space, objectives or fixed overrides are others.
        """
        asked = {
            "objectives": [f"{name}: {goal}" for name, goal in self.objectives.items()],
            "params": sorted(f"{name}: {one}" for name, one in self.space.items()),
            "overrides": sorted(o for o in self.fixed if not o.lstrip("+~").startswith(KEYS_IGNORED_ON_RESUME)),
        }
        started = self.study.user_attrs.get("started_with", asked)
        if self.study.directions == directions(self.objectives) and not self._ended():
            started = {**started, "objectives": asked["objectives"]}  # a misspelt one is mended
        self.study.set_user_attr("started_with", started)

        def listed(values: list[str]) -> str:
            return ", ".join(values) or "(none)"

        differing = [
            f"{what} {listed(started[what])} (now {listed(asked[what])})"
            for what in asked
            if asked[what] != started[what]
        ]
        if differing:
            raise ConfigError(
                f"{self.folder} holds a search with other {'; '.join(differing)}. Choose another "
                "name=…, or give the same values to continue that search."
            )

    def _put_back(self, trial_id: int) -> None:
        trial = self.storage.get_trial(trial_id)
        times = trial.user_attrs.get("interruptions", 0) + 1
        self.storage.set_trial_user_attr(trial_id, "interruptions", times)
        state = TrialState.FAIL if times >= MOST_INTERRUPTIONS else TrialState.WAITING
        self.storage.set_trial_state_values(trial_id, state)

    def _stop_if_all_fail(self) -> None:
        ended = self._ended()
        if len(ended) >= FIRST and all(trial.state == TrialState.FAIL for trial in ended):
            raise ConfigError(
                f"The first {len(ended)} trials failed, so the search stops: {self.folder} has the "
                "reason of each (error.txt). The same command goes on, with what is mended."
            )

    def _ended(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state.is_finished()]

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)


def open_storage(url: str) -> "optuna.storages.BaseStorage":
    """The database of a study; several processes may wait for each other's writes to SQLite."""
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def best_trials(study: "optuna.Study") -> list[FrozenTrial]:
    """The best trial, the earliest of equals; with several objectives the Pareto front."""
    best = study.best_trials if study.get_trials(states=[TrialState.COMPLETE]) else []
    return best if len(study.directions) > 1 else best[:1]


def best_in_words(study: "optuna.Study", objectives: dict[str, str]) -> str:
    """How many trials ended how, and the best ones with their parameters, rounded."""
    states = Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
    lines = [f"{sum(states.values())} trials: " + ", ".join(f"{n} {s}" for s, n in states.items())]
    for trial in best_trials(study):
        values = zip(objectives, trial.values, strict=True)
        rounded = {
            name: float(f"{value:.3g}") if isinstance(value, float) else value
            for name, value in trial.params.items()
        }
        lines.append(
            f"Best: trial-{trial.number:03d}, "
            + ", ".join(f"{name} {value:.4f}" for name, value in values)
            + ", with "
            + " ".join(words(rounded))
        )
    return "\n".join(lines)


def quoted(value: Any) -> str:
    """A dictionary in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return naming.quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pluses(line: str) -> int:
    return len(line) - len(line.lstrip("+"))
