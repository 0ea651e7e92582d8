"""Which steps of an epoch are timed, and one training in a child process."""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import Result

WARMUP_IMAGES, LATER_STEPS = 128, 4  # two workers are two batches each ahead


class Window(NamedTuple):
    """The steps of an epoch: some before the timed ones, the timed ones, and all.

    Before them, memory is allocated and the loader's workers start; after them, workers have
    nothing more to load and the last steps would have the processor to themselves.
    """

    before: int
    timed: int
    steps: int


def window(n_images: int, batch_size: int) -> Window:
    """At least `n_images` timed images, and at least two timed steps."""
    before, timed = math.ceil(WARMUP_IMAGES / batch_size), max(2, math.ceil(n_images / batch_size))
    return Window(before, timed, before + timed + LATER_STEPS)


def seconds_per_step(ends: Sequence[float], plan: Window) -> float:
    """From the clock at the end of each batch: from the last untimed to the last timed one.

    Raises ValueError if the epoch had fewer steps than planned.
    """
    if len(ends) < plan.steps:
        raise ValueError(f"{len(ends)} steps, but {plan.steps} were planned.")
    return (ends[plan.before + plan.timed - 1] - ends[plan.before - 1]) / plan.timed


def measure(contender: str, case: dict[str, Any], options: dict[str, Any], n_images: int) -> Result:
    """Seconds per image of the timed steps; arguments are plain values, paths as text."""
    from benchmarks.contenders.case import Case
    from cxr_lightning.config import TrainerConfig
    from cxr_lightning.trainers import choose_precision

    plan = window(n_images, case["batch_size"])
    if contender == "limit":
        options["steps"] = plan.steps
    ours = choose_precision(TrainerConfig(max_epochs=1, accelerator="cpu"))
    bf16 = case["same"] and ours == "bf16-mixed"
    given = Case(**{**case, "root": Path(case["root"]), "bf16": bf16})
    ends = import_module(f"benchmarks.contenders.{contender}").run(given, **options)
    return {"seconds_per_image": seconds_per_step(ends, plan) / given.batch_size}
