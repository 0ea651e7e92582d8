"""The part `memory`: resident set against the number of images, and what workers share."""

import gc
import multiprocessing
import os
from pathlib import Path

from benchmarks.arithmetic import slope
from benchmarks.child import ChildError, Result
from benchmarks.rounds import progress
from benchmarks.suite import Part, Suite, Table
from benchmarks.tiny import write_tiny

SIZES, QUICK_SIZES = (1000, 4000, 16000), (250, 1000)
SIZE_PX = 256
EPOCHS = 3  # in which a shuffled loader brings most pages to every worker
WORKERS = (0, 2)
COLUMNS = {
    "own_mb": "own",
    "rss_mb": "resident",
    "pss_mb": "proportional",
    "store_rss_mb": "resident, of the store",
    "store_pss_mb": "proportional, of the store",
}


def run(suite: Suite) -> Part:
    """One process a number of images and workers; Linux alone tells what is shared."""
    part = Part()
    if not Path("/proc/self/smaps_rollup").exists():
        part.left_out.append("memory is left out: /proc/self/smaps_rollup is Linux's.")
        return part
    sizes = QUICK_SIZES if suite.quick else SIZES
    for workers in WORKERS:
        name = f"memory/{workers}-workers"
        if not suite.wants(name):
            continue
        progress(name)
        results = []
        for n in sizes:
            root = write_tiny(suite.work / "images" / f"tiny-{n}", n)
            progress(f"  {n} images")
            try:
                result = suite.measure(
                    "benchmarks.memory:epochs", root=str(root), n_workers=workers
                )
            except ChildError as error:
                part.left_out.append(f"{name}, {n} images, is left out: it failed ({error}).")
                continue
            results.append({"images": n, **result})
        part.data[name] = results
        rows = [
            [f"{r['images']}", f"{r['file_mb']:.0f}", *(f"{r[key]:.0f}" for key in COLUMNS)]
            for r in results
        ]
        note = ""
        if len(results) > 1:
            numbers = [float(r["images"]) for r in results]
            growth = slope(numbers, [r["own_mb"] * 2**20 for r in results])
            note = (
                f"Own memory grows by {growth:.0f} bytes an image; an image has {SIZE_PX**2} "
                "pixels. Resident pages of the store are the system's file cache: it takes them "
                "back when memory is short."
            )
        header = ["images", "store's file", *COLUMNS.values()]
        part.show(Table(f"{name}: MB after {EPOCHS} epochs of loading", header, rows, note))
    return part


def epochs(root: str, n_workers: int) -> Result:
    """Memory of this process and its loader's workers after some epochs without a network."""
    from cxr_lightning.config import DataConfig, SplitConfig
    from cxr_lightning.data.datamodule import XrayDataModule
    from cxr_lightning.data.sampler import TrainSampler

    data = DataConfig(
        name="folder",
        root=Path(root),
        image_size=SIZE_PX,
        cache_dir=Path(os.environ["CXR_LIGHTNING_CACHE"]),
        batch_size=32,
        num_workers=n_workers,
    )
    datamodule = XrayDataModule(data, SplitConfig(name="pooled", val_fraction=0))
    datamodule.setup()
    loader = datamodule.train_dataloader()
    assert isinstance(loader.sampler, TrainSampler)
    for number in range(EPOCHS):
        loader.sampler.set_epoch(number)  # as Lightning does: another order, other workers' pages
        for _ in loader:
            pass
    gc.collect()
    workers = [process.pid for process in multiprocessing.active_children() if process.pid]
    file = datamodule.pixels.file
    return processes_memory([os.getpid(), *workers], file) | {
        "file_mb": file.stat().st_size / 2**20
    }


def processes_memory(pids: list[int], file: Path) -> dict[str, float]:
    """Memory of several processes, added up, in MB; `store_…` are the mappings of `file` alone.

    Proportional: a page that k processes have counts 1/k in each, so that the sum counts it once.
    Own: the proportional memory that is in no file, so that the system cannot take it back.
    """
    total = dict.fromkeys(COLUMNS, 0.0)
    for pid in pids:
        rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
        total["own_mb"] += rollup["Pss_Anon"] / 2**10
        total["rss_mb"] += rollup["Rss"] / 2**10
        total["pss_mb"] += rollup["Pss"] / 2**10
        inside = False
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            key = line.split(maxsplit=1)[0]
            if not key.endswith(":"):  # the first line of a mapping: its addresses and its file
                inside = line.endswith(str(file))
            elif inside and key in ("Rss:", "Pss:"):
                total[f"store_{key[:3].lower()}_mb"] += _kilobytes([line])[key[:3]] / 2**10
    return total


def _kilobytes(lines: list[str]) -> dict[str, float]:
    """`Rss:   123 kB` as `{"Rss": 123.0}`."""
    words = [line.split() for line in lines]
    return {w[0].rstrip(":"): float(w[1]) for w in words if len(w) == 3 and w[2] == "kB"}
