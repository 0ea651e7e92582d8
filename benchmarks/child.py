"""Each measurement in a new process: what one run caches, imports or leaks, no other run has.

The child is this file as a program: it reads `arguments.json` in its working folder and writes
`result.json`.
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
    (folder / "arguments.json").write_text(json.dumps(arguments), encoding="utf-8")
    run_program([sys.executable, "-m", "benchmarks.child", target], folder, cache_dir)
    result: Result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def run_program(words: Sequence[str], folder: Path, cache_dir: Path) -> None:
    """Run a program in `folder`, with its output in `output.log`; no GPU, this checkout's packages.

    Raises:
        ChildError: it ended with another status than 0, or not in time.
    """
    log = folder / "output.log"
    path = os.pathsep.join(p for p in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if p)
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        "CXR_LIGHTNING_CACHE": str(cache_dir),
        "TORCHINDUCTOR_CACHE_DIR": str(cache_dir / "inductor"),
    }
    try:
        with log.open("wb") as output:
            status = subprocess.run(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired:
        raise ChildError(f"it did not end within {TIMEOUT_S} s") from None
    if status:
        printed = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line.strip() for line in printed if line.strip()]
        raise ChildError(f"status {status}: {' | '.join(lines[-5:])}")


def main() -> None:
    """The child's side."""
    module, _, function = sys.argv[1].partition(":")
    arguments = json.loads(Path("arguments.json").read_text(encoding="utf-8"))
    result: Result = getattr(import_module(module), function)(**arguments)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    Path("result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
