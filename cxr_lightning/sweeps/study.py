"""What a report shows of a search: its best trials and Optuna's pictures of the study."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
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
    own = folder / "study.db"  # it may have been moved with the sweep
    storage = f"sqlite:///{own.absolute()}" if own.exists() else search["storage"]
    study = optuna.load_study(study_name=search["study"], storage=open_storage(storage))
    rows = [
        {"trial": str(trial.number), "state": trial.state.name.lower()}
        | {n: f"{v:.4f}" for n, v in zip(search["objectives"], trial.values or [], strict=False)}
        | {name: str(short(value)) for name, value in trial.params.items()}
        for trial in counted(study)
    ]
    return StudyResults(
        sentences=best_as_text(study, search["objectives"]).splitlines(),
        trials=pd.DataFrame(rows).fillna(""),
        best=[job_of(trial) for trial in best_trials(study)],
        charts=[chart(*picture) for picture in pictures(study, list(search["objectives"]))],
    )


def pictures(study: optuna.Study, objectives: list[str]) -> list[tuple[str, Figure, str]]:
    """Title, figure and words of Optuna's pictures, of two complete trials or more."""
    if len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])) < 2:
        return []
    drawn = []
    # Optuna sets the style of all later charts and keeps its figures in pyplot; its functions are
    # "experimental"; labels collide.
    with plt.rc_context(), plt.ioff(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = [picture for i, name in enumerate(objectives) for picture in _asked(study, name, i)]
        if len(objectives) > 1:
            words = f"{len(study.best_trials)} trials; no other beats them in both objectives"
            asked.append(("Pareto front", "plot_pareto_front", {"target_names": objectives}, words))
        for title, plot, options, words in asked:
            getattr(optuna_charts, plot)(study, **options)
            plt.close(figure := plt.gcf())
            figure.set_size_inches(7.5, 4)
            for where in ("left", "center", "right"):
                figure.axes[0].set_title("", loc=where)
            for axes in figure.axes:
                axes.grid(False)
                axes.set_facecolor("white")  # light lines are seen on it, not on the style's grey
            drawn.append((title, figure, words))
    return drawn


def _asked(study: optuna.Study, name: str, i: int) -> list[tuple[str, str, dict[str, Any], str]]:
    """Title, Optuna's function, its options and words of each picture of an objective."""
    sign = -1 if study.directions[i].name == "MAXIMIZE" else 1
    is_one = len(study.directions) == 1

    def value(trial: FrozenTrial) -> float:
        return float(trial.values[i])

    def low_is_good(trial: FrozenTrial) -> float:  # what importance is of, with a target
        return sign * value(trial)

    about: dict[str, Any] = {"target_name": name, "target": None if is_one else value}
    towards_best = about | {"target": None if is_one else low_is_good}
    shares = optuna.importance.get_param_importances(study, target=towards_best["target"])
    depends = ", ".join(f"{parameter} {share:.2f}" for parameter, share in shares.items())
    values = [value(t) for t in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])]
    ended = f"{len(values)} complete trials, from {min(values):.4f} to {max(values):.4f}"
    weights = f"Importance of each parameter: {depends}"
    # With a target, Optuna draws low values dark; without one, good values.
    lines = f"Trials by parameters, {'dark' if is_one or sign > 0 else 'light'} is good: {name}"
    each = "Each line is a trial; its values are in the table of all trials"
    return [
        (f"History of {name}", "plot_optimization_history", about, ended),
        (f"What {name} depends on", "plot_param_importances", towards_best, weights),
        (lines, "plot_parallel_coordinate", about, each),
    ]
