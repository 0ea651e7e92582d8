"""What a report shows of a search: its best trials and Optuna's pictures of the study."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as optuna_charts

from cxr_lightning.runs.study import open_storage
from cxr_lightning.sweeps.charts import Chart, chart
from cxr_lightning.sweeps.plan import Plan
from cxr_lightning.sweeps.table import short
from cxr_lightning.sweeps.trials import best_as_text, best_trials, counted, job_of


@dataclass(frozen=True)
class StudyResults:
    """What a study shows: its end in sentences, all trials as text, the best jobs, pictures."""

    sentences: list[str]
    trials: pd.DataFrame
    best: list[str]
    charts: list[Chart]


def study_results(folder: Path, plan: Plan) -> StudyResults | None:
    """The study of the search in `folder`; None where no trial has started yet."""
    # The latest trial's: the first ones may have been started with a misspelt objective.
    configs = [folder / job.name / "config.yaml" for job in reversed(plan.jobs)]
    latest = next((file for file in configs if file.exists()), None)
    if latest is None:
        return None
    search: dict[str, Any] = yaml.safe_load(latest.read_text(encoding="utf-8"))["search"]
    # The sweep's own database may have been moved with it.
    own = folder / "study.db"
    storage = f"sqlite:///{own.absolute()}" if own.exists() else search["storage"]
    study = optuna.load_study(study_name=search["study"], storage=open_storage(storage))
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    drawn = pictures(study, list(search["objectives"])) if len(complete) > 1 else []
    return StudyResults(
        sentences=best_as_text(study, search["objectives"]).splitlines(),
        trials=pd.DataFrame([_row(t, search["objectives"]) for t in counted(study)]).fillna(""),
        best=[job_of(trial) for trial in best_trials(study)],
        charts=[chart(*picture) for picture in drawn],
    )


def pictures(study: optuna.Study, objectives: list[str]) -> list[tuple[str, Figure, str]]:
    """Title, figure and words of Optuna's pictures; pyplot keeps none of them, nor their style."""
    # Optuna sets the style of all later charts; its functions are "experimental"; labels collide.
    with plt.rc_context(), plt.ioff(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = [p for i, name in enumerate(objectives) for p in _of_objective(study, name, i)]
        if len(objectives) > 1:
            optuna_charts.plot_pareto_front(study, target_names=objectives)
            words = f"{len(study.best_trials)} trials; no other beats them in both objectives"
            drawn.append(("Pareto front", _taken(), words))
    return drawn


def _of_objective(study: optuna.Study, name: str, i: int) -> Iterator[tuple[str, Figure, str]]:
    goes_up = study.directions[i] == StudyDirection.MAXIMIZE
    is_one = len(study.directions) == 1

    def value(trial: FrozenTrial) -> float:
        return float(trial.values[i])

    def low_is_good(trial: FrozenTrial) -> float:  # what importance is of, with a target
        return -value(trial) if goes_up else value(trial)

    about: dict[str, Any] = {"target_name": name, "target": None if is_one else value}
    optuna_charts.plot_optimization_history(study, **about)
    values = [value(t) for t in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])]
    words = f"{len(values)} complete trials, from {min(values):.4f} to {max(values):.4f}"
    yield f"History of {name}", _taken(), words

    towards_best = None if is_one else low_is_good
    optuna_charts.plot_param_importances(study, target=towards_best, target_name=name)
    shares = optuna.importance.get_param_importances(study, target=towards_best).items()
    words = ", ".join(f"{parameter} {share:.2f}" for parameter, share in shares)
    yield f"What {name} depends on", _taken(), f"Importance of each parameter: {words}"

    optuna_charts.plot_parallel_coordinate(study, **about)
    # With a target, Optuna draws low values dark; without one, good values.
    shade = "dark" if is_one or not goes_up else "light"
    title = f"Trials by parameters, {shade} is good: {name}"
    yield title, _taken(), "Each line is a trial; its values are in the table of all trials"


def _taken() -> Figure:
    """The figure that Optuna has just drawn, taken from pyplot."""
    figure = plt.gcf()
    plt.close(figure)
    figure.set_size_inches(7.5, 4)
    for where in ("left", "center", "right"):
        figure.axes[0].set_title("", loc=where)
    for axes in figure.axes:
        axes.grid(False)
        axes.set_facecolor("white")  # light lines are seen on it, not on the style's grey
    return figure


def _row(trial: FrozenTrial, objectives: dict[str, str]) -> dict[str, str]:
    values = zip(objectives, trial.values or [], strict=False)
    row = {"trial": str(trial.number), "state": trial.state.name.lower()}
    row |= {name: f"{value:.4f}" for name, value in values}
    return row | {name: str(short(value)) for name, value in trial.params.items()}
