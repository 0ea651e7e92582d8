"""The part `overhead`: imports, start to first step, between a sweep's jobs, around a test."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean

from benchmarks.arithmetic import spread
from benchmarks.child import ChildError, Result, run_program
from benchmarks.images import link_splits
from benchmarks.rounds import Runs, interleave, progress
from benchmarks.suite import Part, Suite, Table

SIZE_PX, TRAIN_IMAGES, TEST_IMAGES = 64, 96, 771  # as many test images as Kaggle's set has
EPOCHS = 3
CLOCK = "+callbacks.clock={_target_: benchmarks.training.clock.Clock}"
TRAIN = [sys.executable, "-m", "cxr_lightning.train"]
LAUNCHERS = {"basic": [], "processes": ["hydra/launcher=processes", "hydra.launcher.n_jobs=1"]}
IMPORTS = {
    "import torch": "import torch",
    "import torch, torchvision, pytorch_lightning": (
        "import torch, torchvision.transforms.v2, pytorch_lightning"
    ),
    "all that a run imports first": (
        "import cxr_lightning.assemble, cxr_lightning.callbacks.dashboard, "
        "cxr_lightning.callbacks.metrics_file, cxr_lightning.callbacks.run_record, cxr_lightning.screen"
    ),
}


def run(suite: Suite) -> Part:
    """Imports and starts, a 2×2 sweep by each launcher, and the parts of a single run."""
    part = Part()
    n_test = 40 if suite.quick else TEST_IMAGES
    root = suite.work / "images" / "overhead"
    # All classes alike: validation needs ten patients of each.
    turns = suite.found.groupby("class").cumcount().sort_values(kind="stable").index
    link_splits(suite.found.loc[turns], root, TRAIN_IMAGES, n_test)
    if suite.wants("overhead/start"):
        _start(suite, part, root, n_test)
    if suite.wants("overhead/sweep"):
        _sweep(suite, part, root)
    return part


def _start(suite: Suite, part: Part, root: Path, n_test: int) -> None:
    progress("overhead/start")
    contenders: dict[str, Callable[[int], Result]] = {
        "cxr-train --help": lambda _: _seconds(suite, [*TRAIN, "--help"]),
        "cxr-train --cfg job": lambda _: _seconds(suite, [*TRAIN, "--cfg", "job"]),
    }
    for name, statement in IMPORTS.items():
        contenders[name] = partial(
            lambda words, _: _seconds(suite, words), [sys.executable, "-c", statement]
        )
    contenders["a run"] = lambda _: _timeline(suite, root)
    with suppress(ChildError):  # fills the store; if this fails, the rounds will say why
        _timeline(suite, root)
    runs = interleave(contenders, suite.rounds)
    part.left_out += runs.left_out.values()
    rows = [
        [name, spread(runs.values(name, "seconds")).text()]
        for name in runs.results
        if name != "a run"
    ]
    part.show(Table("overhead/start: whole processes", ["", "seconds"], rows))
    part.data["overhead/start"] = {
        name: runs.values(name, "seconds") for name in runs.results if name != "a run"
    }
    if "a run" in runs.results:
        _parts_of_a_run(part, runs, n_test)


def _parts_of_a_run(part: Part, runs: Runs, n_test: int) -> None:
    keys = {
        "start to first step's begin": "to_first_step",
        "first step": "first_step",
        "last step of an epoch to the next one's first": "epoch_gap",
        "fit's end to the first test batch": "to_test",
        "test batches": "test",
        "last test batch to metrics.json (intervals, files)": "results",
        "metrics.json to the process's end": "to_end",
    }
    values = {name: runs.values("a run", key) for name, key in keys.items()}
    part.data["overhead/run"] = values
    rows = [[name, spread(seconds).text()] for name, seconds in values.items()]
    note = (
        f"ResNet-18, {SIZE_PX} px, {TRAIN_IMAGES} training and about {n_test} test images, "
        f"{EPOCHS} epochs, decoded before."
    )
    part.show(Table("overhead/start: the parts of one run", ["", "seconds"], rows, note))


def _sweep(suite: Suite, part: Part, root: Path) -> None:
    progress("overhead/sweep")
    contenders = {
        launcher: partial(lambda words, _: _gaps(suite, root, words), words)
        for launcher, words in LAUNCHERS.items()
    }
    runs = interleave(contenders, suite.rounds)
    part.left_out += runs.left_out.values()
    rows = []
    for launcher, results in runs.results.items():
        gaps = {
            key: [gap for result in results for gap in result[key]]
            for key in ("to_next_job", "to_next_step")
        }
        part.data[f"overhead/sweep/{launcher}"] = gaps
        to_step = [a - b for a, b in zip(gaps["to_next_step"], gaps["to_next_job"], strict=True)]
        rows.append(
            [
                launcher,
                spread(gaps["to_next_job"]).text(),
                spread(to_step).text(),
                spread(gaps["to_next_step"]).text(),
            ]
        )
    header = [
        "launcher",
        "job's end to the next one's begin",
        "from there to the first step",
        "sum",
    ]
    note = (
        "Seconds, over all gaps of all rounds. A job ends when metrics.json is there, and begins "
        "when its config.yaml is."
    )
    part.show(Table("overhead/sweep: between the jobs of a 2×2 sweep", header, rows, note))


def _seconds(suite: Suite, words: Sequence[str]) -> Result:
    with suite.new_folder() as folder:
        start = time.perf_counter()
        run_program(words, folder, suite.cache)
        return {"seconds": time.perf_counter() - start}


def _timeline(suite: Suite, root: Path) -> Result:
    """The parts of one `cxr-train`, in seconds, from what it left in its folder."""
    with suite.new_folder() as folder:
        start = time.time()
        words = [*TRAIN, *_overrides(root, EPOCHS), "model=resnet18", "name=run"]
        run_program(words, folder, suite.cache)
        end = time.time()
        run_folder = folder / "outputs" / "run"
        at = json.loads((run_folder / "clock.json").read_text())
        metrics = (run_folder / "metrics.json").stat().st_mtime
    return {
        "to_first_step": at["epochs"][0][0] - start,
        "first_step": at["first_step_end"] - at["epochs"][0][0],
        "epoch_gap": mean(later[0] - earlier[1] for earlier, later in pairwise(at["epochs"])),
        "to_test": at["test_start"] - at["fit_end"],
        "test": at["test_end"] - at["test_start"],
        "results": metrics - at["test_end"],
        "to_end": end - metrics,
    }


def _gaps(suite: Suite, root: Path, launcher: Sequence[str]) -> Result:
    """Seconds between the jobs of a 2×2 sweep, one after the other."""
    swept = ["model=cnn5,resnet18", "augment=none,standard", "name=sweep"]
    jobs = []
    with suite.new_folder() as folder:
        words = [*TRAIN, "-m", *_overrides(root, 1), *swept, *launcher]
        run_program(words, folder, suite.cache)
        for clock in (folder / "outputs" / "sweep").glob("*/clock.json"):
            first_step = json.loads(clock.read_text())["epochs"][0][0]
            begin, end = (
                (clock.parent / name).stat().st_mtime for name in ("config.yaml", "metrics.json")
            )
            jobs.append((begin, first_step, end))
    pairs = list(pairwise(sorted(jobs)))
    return {
        "to_next_job": [later[0] - earlier[2] for earlier, later in pairs],
        "to_next_step": [later[1] - earlier[2] for earlier, later in pairs],
    }


def _overrides(root: Path, epochs: int) -> list[str]:
    return [
        "data=folder",
        f"data.root='{root}'",
        f"data.image_size={SIZE_PX}",
        f"trainer.max_epochs={epochs}",
        CLOCK,
    ]
