"""The part `decoding`: first use of the store, its later openings, and one naive epoch."""

import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.arithmetic import paired_ratios, spread
from benchmarks.child import Result
from benchmarks.images import enlarge, link_splits, mean_size, read_once
from benchmarks.suite import Suite, progress, show, values

MOST_IMAGES, MOST_ENLARGED, MOST_QUICK = 2000, 400, 100
FIRST, AGAIN = "store, first use", "store, opened again"


def run(suite: Suite) -> None:
    """The images as given, and enlarged: published films are larger than many copies of them."""
    for name, most in (("decoding/as-given", MOST_IMAGES), ("decoding/enlarged", MOST_ENLARGED)):
        if suite.wants(name):
            found = suite.found[: MOST_QUICK if suite.quick else most]
            if name == "decoding/enlarged":
                found = enlarge(found, suite.work / "enlarged", factor=2)
            _compare(suite, name, found)


def _compare(suite: Suite, name: str, found: pd.DataFrame) -> None:
    progress(name)
    root, cache = suite.work / name, suite.work / "stores"
    link_splits(found, root, len(found), 0)
    read_once(found)
    given: dict[str, Any] = {"root": str(root), "size_px": suite.image_size}

    def naive_epoch(workers: int) -> Result:
        return suite.measure("benchmarks.decoding:naive_epoch", workers=workers, **given)

    def store(number: int) -> Result:
        return suite.measure("benchmarks.stages:store", cache, **given)

    def empty_store(number: int) -> Result:
        shutil.rmtree(cache, ignore_errors=True)
        return store(number)

    contenders = {
        "naive epoch, 0 workers": lambda _: naive_epoch(0),
        "naive epoch, 2 workers": lambda _: naive_epoch(2),
        FIRST: empty_store,
        AGAIN: store,  # opens what the line above left
    }
    seconds = values(suite.interleave(name, contenders), "seconds")
    suite.data[name] = {"images": len(found), **seconds}
    rows = []
    for contender, times in seconds.items():
        compared = FIRST in seconds and contender not in (FIRST, AGAIN)
        ratio = spread(paired_ratios(times, seconds[FIRST])) if compared else ""
        rows.append([contender, spread(times), spread(times, 1000 / len(found)), ratio])
    note = f"{len(found)} images, {mean_size(found)} on average, to {suite.image_size} px."
    show(name, ["", "seconds", "ms per image", "time / store's first use"], rows, note)


def naive_epoch(root: str, size_px: int, workers: int) -> Result:
    """Seconds of one pass over a student's loader, without any network."""
    from benchmarks.contenders.case import Case
    from benchmarks.contenders.student import image_loader

    case = Case(Path(root), "cnn5", 32, augment=False, image_size=size_px, workers=workers)
    loader = image_loader(case)
    start = time.perf_counter()
    for _ in loader:
        pass
    return {"seconds": time.perf_counter() - start}
