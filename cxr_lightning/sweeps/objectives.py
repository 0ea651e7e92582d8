"""What a search makes large or small, and a trial's values of it."""

from pathlib import Path

import pandas as pd
from optuna.study import StudyDirection

from cxr_lightning.errors import ConfigError


def check_objectives(objectives: dict[str, str], has_validation: bool) -> None:
    """Raises `ConfigError`: none, one of test images, a wrong direction, one without images."""
    if not objectives:
        raise ConfigError("hydra.sweeper.objectives is empty; give [{val/f1_macro:maximize}].")
    for name, direction in objectives.items():
        if name.startswith("test/"):
            raise ConfigError(
                f"hydra.sweeper.objectives: {name} is measured on the test images. What is chosen "
                "by them cannot be tested by them; take its val/… instead."
            )
        if direction not in ("maximize", "minimize"):
            raise ConfigError(
                f"hydra.sweeper.objectives: {name}={direction}; maximize or minimize."
            )
        if name.startswith("val/") and not has_validation:
            raise ConfigError(f"split.val_fraction=0 leaves no images to measure {name} on.")


def directions(objectives: dict[str, str]) -> list[StudyDirection]:
    """`maximize` and `minimize` as Optuna takes them."""
    return [StudyDirection[direction.upper()] for direction in objectives.values()]


def objective_values(folder: Path, objectives: dict[str, str]) -> list[float] | None:
    """The objectives at the best epoch of the first one, from a job's `curves.csv`; None: nan only.

    Raises:
        ConfigError: the run did not log an objective; it names what there is.
    """
    curves = pd.read_csv(folder / "curves.csv")
    if missing := [name for name in objectives if name not in curves]:
        there = ", ".join(str(name) for name in curves if "/" in str(name))
        raise ConfigError(f"The objective {', '.join(missing)} is not logged; there are: {there}.")
    first, direction = next(iter(objectives.items()))
    if curves[first].isna().all():
        return None
    best = curves[first].idxmax() if direction == "maximize" else curves[first].idxmin()
    at_best = curves.loc[[best]]
    return [float(at_best[name].item()) for name in objectives]
