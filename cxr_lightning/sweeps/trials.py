"""A study's trials: which of them count, and which are the best."""

from collections import Counter

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from cxr_lightning.sweeps.space import as_overrides


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials without those that were run again under another number, or never run."""
    trials = [t for t in study.get_trials(deepcopy=False) if "discarded" not in t.user_attrs]
    again = {number for t in trials for number in t.system_attrs.get("retry_history", [])}
    return [trial for trial in trials if trial.number not in again]


def job_of(trial: Trial | FrozenTrial) -> str:
    """The name of a trial's job, which a trial that is run again has kept."""
    return str(trial.user_attrs.get("job", f"trial-{trial.number:03d}"))


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The best trial, the earliest of equals; with several objectives the Pareto front."""
    best = study.best_trials if study.get_trials(states=[TrialState.COMPLETE]) else []
    return best if len(study.directions) > 1 else best[:1]


def best_as_text(study: optuna.Study, objectives: dict[str, str]) -> str:
    """How many trials ended how, and the best ones with their parameters, rounded."""
    states = Counter(trial.state.name.lower() for trial in counted(study))
    lines = [f"{sum(states.values())} trials: " + ", ".join(f"{n} {s}" for s, n in states.items())]
    for trial in best_trials(study):
        values = zip(objectives, trial.values, strict=True)
        rounded = {
            name: float(f"{value:.3g}") if isinstance(value, float) else value
            for name, value in trial.params.items()
        }
        lines.append(
            f"Best: {job_of(trial)}, "
            + ", ".join(f"{name} {value:.4f}" for name, value in values)
            + ", with "
            + " ".join(as_overrides(rounded))
        )
    return "\n".join(lines)
