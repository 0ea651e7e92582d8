"""A search by Optuna: which trial is next, and how each one ended; the study is the only memory.

A trial is a job in the folder `trial-<number>`. While it runs, its worker writes heartbeats. A
trial whose heartbeat has stopped was killed; Optuna puts it back with its point. It is the next to
run, in the same folder, and its job continues from its last checkpoint. So a study has `n_trials`
trials however often it was interrupted.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from cxr_lightning.errors import ConfigError
from cxr_lightning.instantiate import build
from cxr_lightning.runs.database import hand_to_jobs, open_storage
from cxr_lightning.runs.folder import KEYS_IGNORED_ON_RESUME, job_state
from cxr_lightning.sweeps import trials
from cxr_lightning.sweeps.launcher import ProcessesLauncher
from cxr_lightning.sweeps.plan import REPLICATES, Job, add_job, quoted
from cxr_lightning.sweeps.trials import as_text, best_as_text, counted, job_of

FIRST = 3  # a search whose first trials all fail would only use up its trials
DRAWS = 20  # of a sampler, until it gives a point that no trial has
ONE_SEED = ("GridSampler", "QMCSampler")  # their points are one sequence, which the seed fixes


@dataclass(kw_only=True, eq=False)
class Search:
    """A study, new or continued, and the trials of it that this process runs.

    overrides: swept ones are the space, the others are the same in all trials. n_trials: in all,
    those of earlier starts included. objectives: a logged metric of an epoch → maximize or
    minimize; the first one's best epoch is a trial's value, the others are read at that epoch.
    sampler, pruner: `_target_` nodes; a sampler gets a seed of its own at each draw. place: the
    overrides that tell a job its name and folder. Raises ConfigError where any of them cannot work,
    or the folder holds another search.
    """

    folder: Path
    overrides: Sequence[Override]
    n_trials: int
    objectives: dict[str, str]
    storage: str
    study_name: str
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    place: Callable[[str], list[str]]
    seed: int = 0
    heartbeat_s: int = 10
    has_validation: bool = True
    running: dict[int, Trial] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        trials.check_objectives(self.objectives, self.has_validation)
        # Optuna prunes by one value only. NopPruner may have arguments left of the configured one.
        if len(self.objectives) > 1 or self.pruner.get("_target_", "").endswith(".NopPruner"):
            self.pruner = {}
        for node in filter(None, (self.sampler, self.pruner)):
            build(node)  # what cannot be built is better known now than in each trial
        swept = [o for o in self.overrides if o.is_sweep_override()]
        self.space = {o.key_or_group: trials.distribution(o) for o in swept}
        self.typed_keys = {o.key_or_group: o.get_key_element() for o in swept}  # with their +
        self.fixed = [str(o.input_line) for o in self.overrides if not o.is_sweep_override()]
        if not self.space:
            raise ConfigError("Nothing to search: hydra.sweeper.params is empty.")
        if luck := self.space.keys() & set(REPLICATES):
            raise ConfigError(
                f"{', '.join(sorted(luck))} cannot be searched: the best seed is the luckiest one."
            )
        if self.n_trials < 1:
            raise ConfigError(f"hydra.sweeper.n_trials={self.n_trials}: at least 1 is needed.")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / "study.lock")
        with self.lock:  # a new database is made by one worker
            self.database = open_storage(self.storage, self.heartbeat_s)
            self.study = optuna.create_study(
                storage=self.database,
                study_name=self.study_name,
                directions=[StudyDirection[goal.upper()] for goal in self.objectives.values()],
                load_if_exists=True,
            )
            self._refuse_another_search()
        self.of_jobs = {
            "study": self.study_name,
            "storage": hand_to_jobs(self.storage),
            "objectives": self.objectives,
            "pruner": self.pruner,
        }

    def jobs(self) -> list[Job]:
        """The jobs of the trials that the study already has."""
        drawn = [t for t in counted(self.study) if "job" in t.user_attrs]
        return [Job(job_of(t), as_text(t.params)) for t in drawn]

    def ask(self) -> tuple[int, list[str]] | None:
        """The next trial's number and its job's overrides; None where there is none to run."""
        with self.lock:  # one worker draws at a time
            self.beat()
            optuna.storages.fail_stale_trials(self.study)
            for cut_off in self._trials(TrialState.RUNNING):
                if "job" not in cut_off.user_attrs:  # its worker was killed in here
                    self._discard(cut_off)
            trial = self._draw()
            if trial is None:
                return None
            self.running[trial.number] = trial
            self.beat()
            name, point = job_of(trial), as_text(trial.params)
            add_job(self.folder, Job(name, point))
        words = [f"{self.typed_keys[key]}={value}" for key, value in point.items()]
        search = quoted({**self.of_jobs, "trial": trial.number})
        return trial.number, [*self.fixed, *words, f"search={search}", *self.place(name)]

    def tell(self, number: int) -> None:
        """Tell the study how a trial of this process ended, as its job's folder says.

        Raises:
            ConfigError: the objective is not logged, or the first trials have all failed.
        """
        folder = self.folder / job_of(self.running[number])
        state, values = job_state(folder), None
        reached = TrialState.PRUNED if state == "pruned" else TrialState.FAIL
        if state == "finished":
            values = trials.objective_values(folder, self.objectives)
            reached = TrialState.FAIL if values is None else TrialState.COMPLETE
        try:
            self.study.tell(self.running[number], values, reached, skip_if_finished=True)
        except RuntimeError as error:  # a sampler that has no further point stops the study
            if "stop" not in str(error):
                raise
            self._end_here()
        del self.running[number]
        ended = [t for t in counted(self.study) if t.state.is_finished()]
        if len(ended) >= FIRST and all(t.state == TrialState.FAIL for t in ended):
            raise ConfigError(
                f"The first {len(ended)} trials failed, so the search stops: {self.folder} has the "
                "reason of each (error.txt). Fix it, and rerun the same command to resume."
            )

    def put_back(self) -> None:
        """Let the trials that this process leaves unfinished be the next to run."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.number in self.running:
                self.database.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def beat(self) -> None:
        """Show that this process, and with it its trials, live."""
        for trial in list(self.running.values()):
            self.database.record_heartbeat(trial._trial_id)

    def others(self) -> int:
        """How many trials run in other processes, or were killed and are not known to be yet."""
        return len(self._trials(TrialState.RUNNING)) - len(self.running)

    def _draw(self) -> Trial | None:
        """A trial that was put back, or a new one whose point no other has."""
        for attempt in range(DRAWS + 1):
            known = counted(self.study)
            if not self._trials(TrialState.WAITING) and len(known) >= self.n_trials:
                return None
            is_last, self.study.sampler = attempt == DRAWS, self._sampler(len(known), attempt)
            if is_last and trials.is_finite(self.space):
                self.study.sampler = optuna.samplers.BruteForceSampler(self.seed)
            trial = self.study.ask(self.space)
            if "job" in trial.user_attrs:
                return trial
            others = [t for t in known if t.number != trial.number]
            is_new = all(t.params != trial.params for t in others)
            if is_new or (is_last and not trials.is_finite(self.space)):
                trial.set_user_attr("job", f"trial-{len(others):03d}")
                return trial
            self._discard(trial)
        self._end_here()
        return None

    def _end_here(self) -> None:
        self.n_trials = min(self.n_trials, len(counted(self.study)))
        print(f"All {self.n_trials} points of the space have been tried: the search ends here.")

    def _sampler(self, n_trials: int, attempt: int) -> optuna.samplers.BaseSampler:
        """A new one for each draw, so that a resumed search draws what one without a stop draws.

        What a sampler has to remember, it keeps in the study.
        """
        is_sequence = self.sampler["_target_"].endswith(ONE_SEED)
        seed = self.seed if is_sequence else self.seed + 1000 * n_trials + attempt
        sampler: optuna.samplers.BaseSampler = build({"seed": seed, **self.sampler})
        return sampler

    def _discard(self, trial: Trial | FrozenTrial) -> None:
        """Take a trial that is not to be run out of the count."""
        self.database.set_trial_user_attr(trial._trial_id, "discarded", True)
        self.database.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _refuse_another_search(self) -> None:
        """Only n_trials, sampler and pruner may differ from what the study was started with."""
        goals = [f"{name}: {goal}" for name, goal in self.objectives.items()]
        typed = [o for o in self.overrides if not o.key_or_group.startswith(KEYS_IGNORED_ON_RESUME)]
        asked = [f"objectives={{{', '.join(goals)}}}", *sorted(str(o.input_line) for o in typed)]
        started = self.study.user_attrs.get("started_with", asked)
        directions = [direction.name.lower() for direction in self.study.directions]
        has_ended = any(trial.state.is_finished() for trial in counted(self.study))
        if directions == list(self.objectives.values()) and not has_ended:
            started = [asked[0], *started[1:]]  # a misspelt objective is fixed
        self.study.set_user_attr("started_with", started)
        if differing := sorted(set(started) ^ set(asked)):
            raise ConfigError(
                f"{self.folder} holds another search; it differs in {', '.join(differing)}. Choose "
                "another name=…, or give the same values to continue that search."
            )

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=[state])


def own_study(folder: Path) -> str | None:
    """The study that a folder's own database holds: its name stays when the folder is renamed."""
    file = folder / "study.db"
    names = optuna.get_all_study_names(f"sqlite:///{file}") if file.exists() else []
    return names[0] if len(names) == 1 else None


def run_search(search: Search, launcher: Launcher, n_jobs: int) -> None:
    """Run trials until there are enough; print the best.

    With our own launcher a slot that is free takes the next trial at once. Others get `n_jobs`
    trials at a time, and the next ones when all of those have ended.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(search.heartbeat_s):
            search.beat()

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        patience = time.monotonic() + 5 * search.heartbeat_s
        while (ran := _run_trials(search, launcher, n_jobs)) or search.others():
            if ran:
                patience = time.monotonic() + 5 * search.heartbeat_s
            elif time.monotonic() > patience:
                break
            else:  # of a worker that was killed just now: its trials are ours to run, soon
                time.sleep(search.heartbeat_s / 2)
    except BaseException:
        search.put_back()
        raise
    finally:
        stop.set()
        heart.join()
    print(best_as_text(search.study, search.objectives))


def _run_trials(search: Search, launcher: Launcher, n_jobs: int) -> int:
    """Run what there is to run now; returns how many trials that was."""
    if isinstance(launcher, ProcessesLauncher):
        return len(launcher.launch_each(search.ask, search.tell))
    batch: list[tuple[int, list[str]]] = []
    while len(batch) < n_jobs and (job := search.ask()) is not None:
        batch.append(job)
    if batch:
        launcher.launch([overrides for _, overrides in batch], initial_job_idx=batch[0][0])
    for number, _ in batch:
        search.tell(number)
    return len(batch)
