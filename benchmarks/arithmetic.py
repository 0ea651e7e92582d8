"""Medians with their spread, ratios of interleaved runs, and the exponent of a growth."""

import math
from collections.abc import Sequence
from statistics import linear_regression, median


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """`1.23 (1.10–1.41)`: the median, the smallest and the largest; of equal values, the value.

    Raises ValueError if there are no values.
    """
    middle, low, high = (
        significant(scale * value) for value in (median(values), min(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}–{high})"


def paired_ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """One ratio per round: what slows a whole round slows both sides of its ratio.

    Raises ValueError if one side has more rounds than the other.
    """
    return [value / base for value, base in zip(values, reference, strict=True)]


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares: 1 is linear, 2 is quadratic.

    Raises ValueError for fewer than two different sizes, or for anything not above 0.
    """
    return linear_regression([math.log(x) for x in sizes], [math.log(y) for y in values]).slope


def significant(value: float) -> str:
    """Three significant digits, without an exponent: 1234.5 is 1234, 0.012345 is 0.0123."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"
