"""What a report shows of a search: its best trials and Optuna's pictures of the study."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as optuna_charts

from cxr_lightning.runs.study import open_storage
from cxr_lightning.sweeps.plan import Plan
from cxr_lightning.sweeps.trials import best_as_text, best_trials, counted, job_of


@dataclass(frozen=True)
class StudyResults:
    """A study's trials, the names of its objectives, its best folders and its pictures.

    figures: by title. words: what each shows, for those who do not see it.
    """

    objectives: list[str]
    sentences: list[str]
    trials: list[FrozenTrial]
    best: list[str]
    figures: dict[str, Figure]
    words: dict[str, str]


def study_results(folder: Path, plan: Plan) -> StudyResults | None:
    """The study of the search in `folder`; None where no trial has started yet."""
    # The latest trial's: the first ones may have been started with a misspelt objective.
    configs = (folder / job.name / "config.yaml" for job in reversed(plan.jobs))
    search: dict[str, Any] | None = next(
        (
            yaml.safe_load(file.read_text(encoding="utf-8"))["search"]
            for file in configs
            if file.exists()
        ),
        None,
    )
    if search is None:
        return None
    # The sweep's own database may have been moved with it.
    own = folder / "study.db"
    storage = f"sqlite:///{own.absolute()}" if own.exists() else search["storage"]
    study = optuna.load_study(study_name=search["study"], storage=open_storage(storage))
    objectives = search["objectives"]
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    pictures = _pictures(study, list(objectives)) if len(complete) > 1 else {}
    return StudyResults(
        objectives=list(objectives),
        sentences=best_as_text(study, objectives).splitlines(),
        trials=counted(study),
        best=[job_of(trial) for trial in best_trials(study)],
        figures={title: figure for title, (figure, _) in pictures.items()},
        words={title: words for title, (_, words) in pictures.items()},
    )


def _pictures(study: optuna.Study, objectives: list[str]) -> dict[str, tuple[Figure, str]]:
    """Title to picture and words."""
    drawn: dict[str, tuple[Figure, str]] = {}
    # Optuna sets the style of all later charts; its functions are "experimental"; labels collide.
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, name in enumerate(objectives):
            drawn |= _of_objective(study, name, i)
        if len(objectives) > 1:
            front = _figure(optuna_charts.plot_pareto_front(study, target_names=objectives))
            words = f"{len(study.best_trials)} trials; no other beats them in both objectives"
            drawn["Pareto front"] = (front, words)
    return drawn


def _of_objective(study: optuna.Study, name: str, i: int) -> dict[str, tuple[Figure, str]]:
    goes_up = study.directions[i] == StudyDirection.MAXIMIZE
    is_one = len(study.directions) == 1

    def value(trial: FrozenTrial) -> float:
        return float(trial.values[i])

    def low_is_good(trial: FrozenTrial) -> float:  # what importance is of, with a target
        return -value(trial) if goes_up else value(trial)

    about: dict[str, Any] = {"target_name": name} | ({} if is_one else {"target": value})
    towards_best = None if is_one else low_is_good
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    values = [value(trial) for trial in complete]
    importances = optuna.importance.get_param_importances(study, target=towards_best)
    shares = ", ".join(f"{parameter} {share:.2f}" for parameter, share in importances.items())
    # With a target, Optuna draws low values dark; without one, good values.
    dark_is_good = is_one or not goes_up
    shade = "dark is good" if dark_is_good else "light is good"
    return {
        f"History of {name}": (
            _figure(optuna_charts.plot_optimization_history(study, **about)),
            f"{len(values)} complete trials, from {min(values):.4f} to {max(values):.4f}",
        ),
        f"What {name} depends on": (
            _figure(
                optuna_charts.plot_param_importances(study, target=towards_best, target_name=name)
            ),
            f"Importance of each parameter: {shares}",
        ),
        f"Trials by parameters, {shade}: {name}": (
            _figure(optuna_charts.plot_parallel_coordinate(study, **about)),
            "Each line is a trial; its values are in the table of all trials",
        ),
    }


def _figure(axes: Axes) -> Figure:
    figure = plt.gcf()
    figure.set_size_inches(7.5, 4)
    for each in figure.axes:
        each.grid(False)
        each.set_facecolor("white")  # light lines are seen on it, not on the style's grey
    for where in ("left", "center", "right"):
        axes.set_title("", loc=where)
    return figure
