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
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as pictures

from cxr_lightning.sweeps.plan import Plan
from cxr_lightning.sweeps.search import best_in_words, open_storage


@dataclass(frozen=True)
class StudyResults:
    """A study's trials, the names of its objectives, its best folders and its pictures by title."""

    objectives: list[str]
    sentences: list[str]
    trials: list[FrozenTrial]
    best: list[str]
    figures: dict[str, Figure]


def study_results(folder: Path, plan: Plan) -> StudyResults | None:
    """The study of the search in `folder`; None where no trial has started yet."""
    configs = (folder / job.name / "config.yaml" for job in plan.jobs)
    search: dict[str, Any] | None = next(
        (yaml.safe_load(file.read_text())["search"] for file in configs if file.exists()), None
    )
    if search is None:
        return None
    study = optuna.load_study(study_name=search["study"], storage=open_storage(search["storage"]))
    objectives = search["objectives"]
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return StudyResults(
        objectives=list(objectives),
        sentences=best_in_words(study, objectives).splitlines(),
        trials=study.get_trials(deepcopy=False),
        best=[f"trial-{trial.number:03d}" for trial in study.best_trials] if complete else [],
        figures=_figures(study, list(objectives)) if len(complete) > 1 else {},
    )


def _figures(study: optuna.Study, objectives: list[str]) -> dict[str, Figure]:
    figures = {}
    for i, name in enumerate(objectives):

        def value(trial: FrozenTrial, i: int = i) -> float:
            return float(trial.values[i])

        about: dict[str, Any] = {"target_name": name}
        if len(objectives) > 1:
            about["target"] = value
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # these functions are "experimental"; labels may collide
            figures[f"History of {name}"] = _figure(
                pictures.plot_optimization_history(study, **about)
            )
            figures[f"What {name} depends on"] = _figure(
                pictures.plot_param_importances(study, **about)
            )
            figures[f"Trials by parameters, dark is good: {name}"] = _figure(
                pictures.plot_parallel_coordinate(study, **about)
            )
    if len(objectives) > 1:
        figures["Pareto front"] = _figure(
            pictures.plot_pareto_front(study, target_names=objectives)
        )
    return figures


def _figure(axes: Axes) -> Figure:
    figure = plt.gcf()
    figure.set_size_inches(7.5, 4)
    axes.set_title("")
    return figure
