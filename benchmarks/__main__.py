"""The command: `python -m benchmarks --images DIR [--quick] [--only NAME …] [--json FILE]`."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.images import find_images, read_once
from benchmarks.rounds import progress
from benchmarks.suite import Part, Suite
from benchmarks.training.contenders import CONTENDERS
from cxr_lightning.errors import DataError

PARTS = {
    "training": "benchmarks.training.compare",
    "decoding": "benchmarks.decoding",
    "overhead": "benchmarks.overhead",
    "memory": "benchmarks.memory",
    "growth": "benchmarks.growth",
    "accuracy": "benchmarks.accuracy",
}
CONTENDER_NAMES = [contender.name for contender in CONTENDERS]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="a folder of X-rays in class folders")
    add("--quick", action="store_true", help="minutes: small images, few cases; proves nothing")
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"parts ({', '.join(PARTS)}) or cases, such as training/resnet18/32/none",
    )
    add(
        "--contenders",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=CONTENDER_NAMES,
        help=f"of training: {'; '.join(CONTENDER_NAMES)}",
    )
    add("--rounds", type=int, help="of interleaved runs (3; quick: 1)")
    add("--n-images", type=int, help="timed images of a training (320; quick: 64)")
    add("--image-size", type=int, help="pixels (256; quick: 64)")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add(
        "--work", type=Path, metavar="DIR", help="for images and stores, kept; else a temporary one"
    )
    given = parser.parse_args(words)
    unknown = [name for name in given.only if name.partition("/")[0] not in PARTS]
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: the parts are {', '.join(PARTS)}.")
    for name, usual, quick in (("rounds", 3, 1), ("n_images", 320, 64), ("image_size", 256, 64)):
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else usual)
    return given


def run(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Every part that is wanted; tables are printed as they are filled.

    Returns all figures, as `--json` writes them.
    """
    found = find_images(given.images)
    read_once(found)
    about = machine.describe()
    print(f"{machine.sentence(about)}\n", flush=True)
    suite = Suite(
        images=given.images,
        found=found,
        work=work,
        rounds=given.rounds,
        n_images=given.n_images,
        image_size=given.image_size,
        quick=given.quick,
        only=given.only,
        contenders=given.contenders,
    )
    figures: dict[str, Any] = {
        "machine": about,
        "started": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "arguments": {name: str(value) for name, value in vars(given).items()},
        "images": len(found),
        "parts": {},
        "left_out": [],
    }
    for name, module in PARTS.items():
        if not suite.wants(name):
            continue
        start = time.monotonic()
        run_part: Callable[[Suite], Part] = import_module(module).run
        part = run_part(suite)
        for sentence in part.left_out:
            print(f"- {sentence}")
        print(f"({name}: {time.monotonic() - start:.0f} s)\n", flush=True)
        figures["parts"][name] = part.data
        figures["left_out"] += part.left_out
        if given.json:  # after each part: hours of runs survive an interruption
            given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main() -> None:
    """The command."""
    given = arguments()
    # As an exception, it ends the running child too, and removes the temporary folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = given.work or Path(tempfile.mkdtemp(prefix="cxr-benchmarks-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        run(given, work.resolve())
    except DataError as error:
        progress(str(error))
        sys.exit(1)
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
