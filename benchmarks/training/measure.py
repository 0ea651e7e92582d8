"""One training in a child process."""

from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.child import Result
from benchmarks.training.case import Case
from benchmarks.training.window import Window


def measure(
    contender: str, case: dict[str, Any], options: dict[str, Any], measured_steps: int
) -> Result:
    """Seconds an image of the timed steps; arguments are plain values, paths as text."""
    window = Window(measured_steps, case["batch_size"])
    workers = options.pop("workers", 0)
    root = Path(case.pop("root"))
    if contender == "limit":
        options["steps"] = window.steps
    given = Case(root=root, folder=Path.cwd(), workers=workers, **case)
    ends = import_module(f"benchmarks.training.{contender}").run(given, **options)
    return {"seconds_per_image": window.seconds_per_image(ends)}
