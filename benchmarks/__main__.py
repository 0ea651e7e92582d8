"""The command: `python -m benchmarks --images DIR [--quick] [--only NAME …] [--json FILE]`."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine
from benchmarks.contenders import CONTENDERS
from benchmarks.images import find_images, read_once
from benchmarks.suite import Suite, progress
from cxr_lightning.errors import CxrError

PARTS = ("training", "decoding", "overhead", "memory", "growth", "accuracy")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    several: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "NAME"}
    names = [contender.name for contender in CONTENDERS]
    parts = f"parts ({', '.join(PARTS)}) or cases, such as training/resnet18/32/none"
    add = parser.add_argument
    add("--images", type=Path, required=True, help="a folder of X-rays in class folders")
    add("--quick", action="store_true", help="minutes: small images, few cases; proves nothing")
    add("--only", **several, help=parts)
    add("--contenders", **several, choices=names, help=f"of training: {'; '.join(names)}")
    add("--rounds", type=int, help="rounds of interleaved runs (3; quick: 1)")
    add("--n-images", type=int, help="timed images of a training run (320; quick: 64)")
    add("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(words)
    unknown = [name for name in given.only if name.partition("/")[0] not in PARTS]
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: the parts are {', '.join(PARTS)}.")
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.n_images = given.n_images or (64 if given.quick else 320)
    return given


def run(given: argparse.Namespace, work: Path) -> None:
    """Run every part that is wanted; tables are printed, and figures written, as they are found."""
    found = find_images(given.images)
    read_once(found)
    about = machine.describe()
    print(f"{about}\n", flush=True)
    suite = Suite(
        found,
        work,
        rounds=given.rounds,
        n_images=given.n_images,
        image_size=64 if given.quick else 256,
        quick=given.quick,
        only=given.only,
        contenders=given.contenders,
    )
    figures = {
        "machine": about,
        "started": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "arguments": {name: str(value) for name, value in vars(given).items()},
        "images": len(found),
        "cases": suite.data,
        "left_out": suite.left_out,
    }
    for name in PARTS:
        if not suite.wants(name):
            continue
        start, n_told = time.monotonic(), len(suite.left_out)
        run_part: Callable[[Suite], None] = import_module(f"benchmarks.{name}").run
        run_part(suite)
        for sentence in suite.left_out[n_told:]:
            print(f"- {sentence}")
        print(f"({name}: {time.monotonic() - start:.0f} s)\n", flush=True)
        if given.json:  # after each part: hours of runs survive an interruption
            given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    given = arguments()
    # As an exception, SIGTERM ends the running child too, and removes the temporary folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with TemporaryDirectory(prefix="cxr-benchmarks-", ignore_cleanup_errors=True) as work:
        try:
            run(given, Path(work).resolve())
        except CxrError as error:
            progress(str(error))
            sys.exit(1)


if __name__ == "__main__":
    main()
