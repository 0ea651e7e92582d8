"""What a report shows of a search: its best trials and Optuna's pictures of the study."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from optuna.trial import TrialState
from optuna.visualization import matplotlib as optuna_charts

from cxr_lightning.pages.charts import Chart, chart
from cxr_lightning.runs.database import open_storage
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
    n_complete = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))
    if n_complete < 2:
        return []
    name = objectives[0]  # of several, the study is told the names
    plots: dict[str, Callable[[], object]] = {
        "history": lambda: optuna_charts.plot_optimization_history(study, target_name=name),
        "Pareto front": lambda: optuna_charts.plot_pareto_front(study, target_names=objectives),
        "importance of each parameter": lambda: optuna_charts.plot_param_importances(
            study, target_name=name
        ),
        "trials by parameters, dark is good": lambda: optuna_charts.plot_parallel_coordinate(
            study, target_name=name
        ),
    }
    del plots["Pareto front" if len(objectives) == 1 else "history"]
    if len(objectives) > 3:
        del plots["Pareto front"]  # it has an axis for each
    drawn = []
    # Optuna sets the style of all later charts and keeps its figures in pyplot; its functions are
    # "experimental"; labels collide.
    with plt.rc_context(), plt.ioff(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.set_metric_names(objectives)
        for what, plot in plots.items():
            plot()
            plt.close(figure := plt.gcf())
            figure.set_size_inches(7.5, 4)
            for where in ("left", "center", "right"):
                figure.axes[0].set_title("", loc=where)
            for axes in figure.axes:
                axes.grid(False)
                axes.set_facecolor("white")  # light lines are seen on it, not on the style's grey
            words = f"{n_complete} complete trials; their values are in the table of all trials"
            drawn.append((f"{' and '.join(objectives)}: {what}", figure, words))
    return drawn
