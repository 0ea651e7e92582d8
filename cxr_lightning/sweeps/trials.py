"""A study's space, what its trials are judged by, which of them count, and which are the best."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from cxr_lightning.errors import ConfigError


def distribution(override: Override) -> BaseDistribution:
    """The distribution of a swept override.

    `interval` is continuous, or whole numbers within `int(…)`; `tag(log, …)` makes it logarithmic.
    `range` of whole numbers is whole numbers; all else is a choice among what Hydra would sweep.
    Raises ConfigError where there are no such values.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None and high is not None
        try:
            if isinstance(low, int) and isinstance(high, int):  # Hydra makes plain ones floats
                return distributions.IntDistribution(low, high, log=log)
            return distributions.FloatDistribution(low, high, log=log)
        except ValueError as error:
            raise ConfigError(f"`{override.input_line}` has no values: {error}") from None
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if len(numbers) > 1 and all(isinstance(number, int) for number in numbers):
            low, high = int(min(numbers)), int(max(numbers))
            return distributions.IntDistribution(
                low, high, step=abs(int(numbers[1]) - int(numbers[0]))
            )
    if isinstance(value, ChoiceSweep | RangeSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    raise ConfigError(f"`{override.input_line}` cannot be searched: use choice, interval or range.")


def is_finite(space: Mapping[str, BaseDistribution]) -> bool:
    """Whether all points can be tried."""
    return not any(isinstance(one, distributions.FloatDistribution) for one in space.values())


def as_text(point: Mapping[str, Any]) -> dict[str, str]:
    """A point's values as Hydra reads them back, with every digit; a choice as it was typed."""
    return {key: value if isinstance(value, str) else repr(value) for key, value in point.items()}


def check_objectives(objectives: Mapping[str, str], has_validation: bool) -> None:
    """Raises `ConfigError`: none, one of test images, a wrong direction, one without images."""
    key = "hydra.sweeper.objectives"
    if not objectives:
        raise ConfigError(f"{key} is empty; give [{{val/f1_macro:maximize}}].")
    for name, direction in objectives.items():
        if name.startswith("test/"):
            raise ConfigError(
                f"{key}: {name} is measured on the test images. What is chosen by them cannot be "
                "tested by them; take its val/… instead."
            )
        if direction not in ("maximize", "minimize"):
            raise ConfigError(f"{key}: {name}={direction}; maximize or minimize.")
        if name.startswith("val/") and not has_validation:
            raise ConfigError(f"split.val_fraction=0 leaves no images to measure {name} on.")


def objective_values(folder: Path, objectives: Mapping[str, str]) -> list[float] | None:
    """The objectives at the best epoch of the first one, in a job's `curves.csv`.

    None: one of them is not finite there. Raises ConfigError where one was not logged.
    """
    curves = pd.read_csv(folder / "curves.csv", engine="python")  # C's rounds the last digit
    if missing := [name for name in objectives if name not in curves]:
        there = ", ".join(str(name) for name in curves if "/" in str(name))
        raise ConfigError(f"The objective {', '.join(missing)} is not logged; there are: {there}.")
    first, direction = next(iter(objectives.items()))
    if curves[first].isna().all():
        return None
    sign = 1 if direction == "maximize" else -1
    best = int(np.nanargmax(sign * curves[first].to_numpy()))
    values = [float(curves[name].iloc[best]) for name in objectives]
    return values if np.isfinite(values).all() else None


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


def best_as_text(study: optuna.Study, objectives: Mapping[str, str]) -> str:
    """How many trials ended how, and the best ones with their parameters, rounded."""
    states = Counter(trial.state.name.lower() for trial in counted(study))
    lines = [f"{states.total()} trials: " + ", ".join(f"{n} {s}" for s, n in states.items())]
    for trial in best_trials(study):
        values = zip(objectives, trial.values, strict=True)
        reached = ", ".join(f"{name} {value:.4f}" for name, value in values)
        rounded = {
            k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in trial.params.items()
        }
        point = " ".join(f"{key}={value}" for key, value in as_text(rounded).items())
        lines.append(f"Best: {job_of(trial)}, {reached}, with {point}")
    return "\n".join(lines)
