"""Numbers as text: the value, its 95% interval, and of how many images."""

from collections.abc import Mapping
from typing import Any

from cxr_lightning.contrasts import Interval
from cxr_lightning.metrics import Estimate

SHARES = ("accuracy", "precision", "recall", "specificity", "f1", "balanced_accuracy")


def percent(found: Estimate) -> str:
    """`79.0% (74.5–82.8)`; the reason where there is no value or no interval."""
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return f"{100 * found.value:.1f}% (no interval: {_reason(found)})"
    return f"{100 * found.value:.1f}% ({100 * found.low:.1f}–{100 * found.high:.1f})"


def decimal(found: Estimate) -> str:
    """`0.931 (0.909–0.949)`, for what is no share."""
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return f"{found.value:.3f} (no interval: {_reason(found)})"
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def with_n(name: str, found: Estimate) -> str:
    """A metric of `cxr_lightning.metrics` in the form that suits it, and on a new line its n."""
    metric = name.partition("/")[0].removesuffix("_macro")
    text = percent(found) if metric in SHARES else decimal(found)
    return text if found.value is None else f"{text}\nn = {found.n}"


def points(difference: Mapping[str, Any]) -> str:
    """A difference in percentage points with its interval, from a JSON file."""
    found = Interval(**difference)
    return f"{100 * found.value:+.1f} ({found.limits})"


def counted(images: Mapping[str, int]) -> str:
    """`10 COVID19, 20 NORMAL (30 in all)`."""
    each = ", ".join(f"{n:,} {name}" for name, n in images.items())
    return f"{each} ({sum(images.values()):,} in all)" if images else "none"


def _reason(found: Estimate) -> str:
    return found.method.removeprefix("not estimable: ")
