"""Medians with their spread, ratios of interleaved runs, and the exponent of a growth."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 3, scale: float = 1.0) -> str:
        """`1.23 (1.1–1.4)` with so many significant digits; of equal values, the value alone."""
        median, low, high = (
            significant(v * scale, digits) for v in (self.median, self.low, self.high)
        )
        return median if low == high else f"{median} ({low}–{high})"


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError if there are no values."""
    if not values:
        raise ValueError("There are no values to take the median of.")
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """A ratio a round: what slows a whole round, slows both sides of its ratio.

    Raises ValueError if one side has more rounds than the other.
    """
    return [value / base for value, base in zip(values, reference, strict=True)]


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares: 1 is linear, 2 is quadratic.

    Raises ValueError for fewer than two sizes, or for anything not above 0.
    """
    if min(*sizes, *values, 1) <= 0:
        raise ValueError("Only sizes and values above 0 have a growth exponent.")
    return slope([math.log(x) for x in sizes], [math.log(y) for y in values])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of y over x, by least squares.

    Raises ValueError if x has fewer than two different values.
    """
    if len(set(x)) < 2:
        raise ValueError("A slope needs at least two different sizes.")
    return statistics.linear_regression(x, y).slope


def significant(value: float, digits: int = 3) -> str:
    """So many significant digits, without an exponent: 1234.5 is 1234, 0.012345 is 0.0123."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"
