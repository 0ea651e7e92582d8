"""Each measurement in a fresh process: what one run caches, imports or leaks, no other run has.

Parent: `call("benchmarks.decoding:naive_epoch", folder, root=…)`. The child is this file as a
program: `python -m benchmarks.child TARGET FOLDER` reads `arguments.json` and writes `result.json`.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
LAST_LINES = 5
TIMEOUT_S = 3600

Result = dict[str, Any]


class ChildError(Exception):
    """A measurement failed; the text is the reason, from the end of what it printed."""


def call(target: str, folder: Path, cache_dir: Path, **arguments: Any) -> Result:
    """The dictionary that `module:function` returns, called with plain arguments in a new process.

    folder: an empty one, for what the process prints and writes. cache_dir: decoded pixels and the
    like, kept from run to run. `peak_rss_mb` is added: the largest resident set of the process.

    Raises:
        ChildError: the process did not end with a result.
    """
    (folder / "arguments.json").write_text(json.dumps(arguments))
    run_program([sys.executable, "-m", "benchmarks.child", target, str(folder)], folder, cache_dir)
    result: Result = json.loads((folder / "result.json").read_text())
    return result


def run_program(words: Sequence[str], folder: Path, cache_dir: Path) -> None:
    """Run a program in `folder`, which gets its output as `output.log`.

    Raises:
        ChildError: it ended with another status than 0, or not in time.
    """
    with (folder / "output.log").open("w") as log:
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env=environment(cache_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"not done after {TIMEOUT_S} s") from None
    if done.returncode:
        raise ChildError(last_lines(folder / "output.log") or f"status {done.returncode}")


def environment(cache_dir: Path) -> dict[str, str]:
    """The variables of a measured process: no GPU, its own cache, this checkout's packages."""
    path = os.pathsep.join(p for p in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if p)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        "CXR_LIGHTNING_CACHE": str(cache_dir),
        "TORCHINDUCTOR_CACHE_DIR": str(cache_dir / "inductor"),
    }


def last_lines(log: Path) -> str:
    """The end of a log in one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-LAST_LINES:])


def main() -> None:
    """The child's side."""
    target, folder = sys.argv[1], Path(sys.argv[2])
    module, _, function = target.partition(":")
    arguments = json.loads((folder / "arguments.json").read_text())
    result: Result = getattr(import_module(module), function)(**arguments)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
