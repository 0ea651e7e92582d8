"""The part `decoding`: first use of the store, its later openings, and one naive epoch."""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import Result
from benchmarks.images import enlarge, link_splits, mean_size, read_once
from benchmarks.rounds import interleave, progress
from benchmarks.suite import Part, Suite, Table

MOST_IMAGES, MOST_ENLARGED, MOST_QUICK = 2000, 400, 100
FACTOR = 2
FIRST, AGAIN = "store, first use", "store, opened again"
NAIVE, WITH_WORKERS = "naive epoch, 0 workers", "naive epoch, 2 workers"
BATCH_SIZE = 32


def run(suite: Suite) -> Part:
    """The images as they are, and enlarged: published films are larger than many copies of them."""
    part = Part()
    as_given = suite.found[: MOST_QUICK if suite.quick else MOST_IMAGES]
    enlarged = as_given[: MOST_QUICK if suite.quick else MOST_ENLARGED]
    for name in ("decoding/as-given", "decoding/enlarged"):
        if not suite.wants(name):
            continue
        progress(name)
        folder = suite.work / "images" / name.replace("/", "-")
        found = as_given
        if name == "decoding/enlarged":
            found = enlarge(enlarged, folder.with_name("enlarged-source"), FACTOR)
        link_splits(found, folder, len(found), 0)
        read_once(found)
        _compare(suite, part, name, found, folder / "train")
    return part


def _compare(suite: Suite, part: Part, name: str, found: pd.DataFrame, root: Path) -> None:
    cache = suite.work / "stores"

    def open_again(number: int) -> Result:
        return suite.measure(
            "benchmarks.decoding:store", cache, root=str(root), size_px=suite.image_size
        )

    def first_use(number: int) -> Result:
        shutil.rmtree(cache, ignore_errors=True)
        return open_again(number)

    def naive(workers: int, number: int) -> Result:
        return suite.measure(
            "benchmarks.decoding:naive_epoch",
            root=str(root),
            size_px=suite.image_size,
            workers=workers,
        )

    contenders: dict[str, Callable[[int], Result]] = {
        NAIVE: partial(naive, 0),
        WITH_WORKERS: partial(naive, 2),
        FIRST: first_use,
        AGAIN: open_again,  # of what the line above left
    }
    runs = interleave(contenders, suite.rounds)
    part.left_out += [f"{name}: {reason}" for reason in runs.left_out.values()]
    rows = []
    for contender in runs.results:
        seconds = runs.values(contender, "seconds")
        ratio = ""
        if FIRST in runs.results and contender in (NAIVE, WITH_WORKERS):
            ratio = spread(paired_ratios(seconds, runs.values(FIRST, "seconds"))).text()
        rows.append(
            [
                contender,
                spread(seconds).text(),
                spread(seconds).text(scale=1000 / len(found)),
                ratio,
            ]
        )
        part.data.setdefault(name, {"images": len(found)})[contender] = seconds
    note = f"{len(found)} images, {mean_size(found)} on average, to {suite.image_size} px."
    header = ["", "seconds", "ms an image", "time / store's first use"]
    part.show(Table(name, header, rows, note))


def store(root: str, size_px: int) -> Result:
    """Seconds of `open_store` alone, as a run calls it: imports and index are not in it."""
    import os

    from cxr_lightning.data.index import index_folders
    from cxr_lightning.data.store import open_store

    index = index_folders(Path(root))
    paths = list(index.table["path"])
    start = time.perf_counter()
    open_store(Path(os.environ["CXR_LIGHTNING_CACHE"]), index.root, paths, size_px)
    return {"seconds": time.perf_counter() - start}


def naive_epoch(root: str, size_px: int, workers: int) -> Result:
    """Seconds of one pass over a student's loader, without any network."""
    from torch.utils.data import DataLoader

    from benchmarks.training.case import Case
    from benchmarks.training.student import image_folder

    folder = Path(root)
    case = Case(folder.parent, folder, "cnn5", BATCH_SIZE, augment=False, image_size=size_px)
    dataset = image_folder(case)
    start = time.perf_counter()
    for _ in DataLoader(dataset, BATCH_SIZE, num_workers=workers):
        pass
    return {"seconds": time.perf_counter() - start}
