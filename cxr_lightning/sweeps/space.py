"""A search's space: Hydra's sweep syntax as Optuna's distributions, and points in it."""

from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cxr_lightning.errors import ConfigError


def distribution(override: Override) -> BaseDistribution:
    """The distribution of a swept override.

    `interval` is continuous, or whole numbers within `int(…)`; `tag(log, …)` makes it logarithmic.
    `range` of whole numbers is whole numbers; all else is a choice among what Hydra would sweep.

    Raises:
        ConfigError: a syntax that has no finite or continuous set of values, or an empty one.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None and high is not None
        try:
            if isinstance(low, int) and isinstance(high, int):  # Hydra makes plain ones floats
                return IntDistribution(low, high, log=log)
            return FloatDistribution(low, high, log=log)
        except ValueError as error:
            raise ConfigError(f"`{override.input_line}` has no values: {error}") from None
    if isinstance(value, RangeSweep):
        numbers = list(value.range())
        if len(numbers) > 1 and all(isinstance(number, int) for number in numbers):
            low, high = int(min(numbers)), int(max(numbers))
            return IntDistribution(low, high, step=abs(int(numbers[1]) - int(numbers[0])))
    if isinstance(value, ChoiceSweep | RangeSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    raise ConfigError(f"`{override.input_line}` cannot be searched: use choice, interval or range.")


def is_finite(space: Mapping[str, BaseDistribution]) -> bool:
    """Whether all points can be tried."""
    return not any(isinstance(one, FloatDistribution) for one in space.values())


def as_text(point: Mapping[str, Any]) -> dict[str, str]:
    """A point's values as Hydra reads them back, with every digit; a choice as it was typed."""
    return {key: value if isinstance(value, str) else repr(value) for key, value in point.items()}
