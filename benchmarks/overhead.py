"""The part `overhead`: start to first step, between the jobs of a sweep, around a test."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean

from benchmarks.arithmetic import spread
from benchmarks.child import ChildError, Result, run_program
from benchmarks.images import link_splits
from benchmarks.suite import Suite, progress, show

SIZE_PX, TRAIN_IMAGES, TEST_IMAGES = 64, 96, 771  # as many test images as Kaggle's set has
EPOCHS = 3
TRAIN = [sys.executable, "-m", "cxr_lightning.train"]
LIBRARIES = "import torch, torchvision.transforms.v2, pytorch_lightning"
PROCESSES = {"cxr-train --help": [*TRAIN, "--help"], LIBRARIES: [sys.executable, "-c", LIBRARIES]}
SWEPT = ["model=cnn5,resnet18", "augment=none,standard", "name=sweep"]
LAUNCHERS = {"basic": [], "processes": ["hydra/launcher=processes", "hydra.launcher.n_jobs=1"]}


def run(suite: Suite) -> None:
    """Starts, the parts of a single run, and a 2×2 sweep by each launcher."""
    n_test = 40 if suite.quick else TEST_IMAGES
    root = suite.work / "overhead"
    # Classes take turns: validation needs ten patients of each.
    turns = suite.found.groupby("class").cumcount().sort_values(kind="stable").index
    link_splits(suite.found.loc[turns], root, TRAIN_IMAGES, n_test)
    if suite.wants("overhead/start"):
        _start(suite, root, n_test)
    if suite.wants("overhead/sweep"):
        _sweep(suite, root)


def _start(suite: Suite, root: Path, n_test: int) -> None:
    progress("overhead/start")
    with suppress(ChildError):  # fills the store; if this fails, the rounds will say why
        _timeline(suite, root, 0)
    contenders = {name: partial(_whole, suite, name) for name in PROCESSES}
    contenders["a run"] = partial(_timeline, suite, root)
    results = suite.interleave("overhead/start", contenders)
    seconds = {
        key: [float(result[key]) for result in of_rounds]
        for of_rounds in results.values()
        for key in of_rounds[0]
    }
    suite.data["overhead/start"] = seconds
    rows = [[name, spread(found)] for name, found in seconds.items()]
    note = (
        f"Whole processes, then the parts of one: ResNet-18, {SIZE_PX} px, {TRAIN_IMAGES} training "
        f"and about {n_test} test images, {EPOCHS} epochs, decoded before."
    )
    show("overhead/start", ["", "seconds"], rows, note)


def _whole(suite: Suite, name: str, number: int) -> Result:
    with suite.new_folder() as folder:
        start = time.perf_counter()
        run_program(PROCESSES[name], folder, suite.work / "cache")
        return {name: time.perf_counter() - start}


def _timeline(suite: Suite, root: Path, number: int) -> Result:
    """The parts of one `cxr-train`, in seconds, from what it left in its folder."""
    with suite.new_folder() as folder:
        start = time.time()
        words = [*TRAIN, *_overrides(root, EPOCHS), "model=resnet18", "name=run"]
        run_program(words, folder, suite.work / "cache")
        end = time.time()
        at = json.loads((folder / "outputs/run/clock.json").read_text(encoding="utf-8"))
        written = (folder / "outputs/run/metrics.json").stat().st_mtime
    first, last = at["on_train_batch_start"], at["on_train_batch_end"]
    fit_end, test_start, test_end = (
        at[hook][0] for hook in ("on_fit_end", "on_test_batch_start", "on_test_epoch_end")
    )
    steps = len(first) // EPOCHS
    between = [first[i * steps] - last[i * steps - 1] for i in range(1, EPOCHS)]
    return {
        "start of the process to the first step": first[0] - start,
        "first step": last[0] - first[0],
        "last step of an epoch to the first step of the next": mean(between),
        "end of the fit to the first test batch": test_start - fit_end,
        "test batches": test_end - test_start,
        "last test batch to metrics.json (intervals, files)": written - test_end,
        "metrics.json to the end of the process": end - written,
    }


def _sweep(suite: Suite, root: Path) -> None:
    progress("overhead/sweep")
    contenders = {name: partial(_gaps, suite, root, words) for name, words in LAUNCHERS.items()}
    rows = []
    for launcher, results in suite.interleave("overhead/sweep", contenders).items():
        gaps = {key: [gap for result in results for gap in result[key]] for key in results[0]}
        suite.data[f"overhead/sweep/{launcher}"] = gaps
        rows += [[f"{launcher}: {key}", spread(seconds)] for key, seconds in gaps.items()]
    note = (
        "Over all gaps of all rounds. A job ends when its metrics.json is there, and "
        "starts when its config.yaml is there."
    )
    show("overhead/sweep: between the jobs of a 2×2 sweep", ["", "seconds"], rows, note)


def _gaps(suite: Suite, root: Path, launcher: Sequence[str], number: int) -> Result:
    """Seconds between the jobs of a 2×2 sweep, one after the other."""
    with suite.new_folder() as folder:
        words = [*TRAIN, "-m", *_overrides(root, 1), *SWEPT, *launcher]
        run_program(words, folder, suite.work / "cache")
        jobs = []
        for metrics in (folder / "outputs/sweep").glob("*/metrics.json"):
            start, end = (p.stat().st_mtime for p in (metrics.parent / "config.yaml", metrics))
            clock = (metrics.parent / "clock.json").read_text(encoding="utf-8")
            jobs.append((start, json.loads(clock)["on_train_batch_start"][0], end))
    pairs = list(pairwise(sorted(jobs)))
    return {
        "end of a job to the start of the next": [b[0] - a[2] for a, b in pairs],
        "from there to its first step": [b[1] - b[0] for _, b in pairs],
        "sum": [b[1] - a[2] for a, b in pairs],
    }


def _overrides(root: Path, epochs: int) -> list[str]:
    return [
        "data=folder",
        f"data.root='{root}'",
        f"data.image_size={SIZE_PX}",
        f"trainer.max_epochs={epochs}",
        "+callbacks.clock={_target_: benchmarks.contenders.clock.Clock}",
    ]
