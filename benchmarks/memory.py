"""The part `memory`: resident set against the number of images, and what workers share."""

import gc
import multiprocessing
import os
from pathlib import Path
from statistics import linear_regression

from benchmarks.child import ChildError, Result
from benchmarks.suite import Suite, progress, show
from benchmarks.tiny import write_tiny

SIZES, QUICK_SIZES = (1000, 4000, 16000), (250, 1000)
SIZE_PX = 256
EPOCHS = 3  # in which a shuffled loader brings most pages to every worker
COLUMNS = {
    "file_mb": "store's file",
    "own_mb": "own",
    "store_rss_mb": "resident, of the store",
    "store_pss_mb": "proportional, of the store",
}
NOTE = (
    "Own memory grows by {:.0f} bytes per image; an image has {} pixels. Resident pages of the "
    "store are the system's file cache, which takes them back when memory is short."
)


def run(suite: Suite) -> None:
    """One process for each number of images and workers; only Linux tells what is shared."""
    if not Path("/proc/self/smaps_rollup").exists():
        suite.left_out.append("memory is left out: only Linux has /proc/self/smaps_rollup.")
        return
    for n_workers in (0, 2):
        name = f"memory/{n_workers}-workers"
        if not suite.wants(name):
            continue
        progress(name)
        results = []
        for n in QUICK_SIZES if suite.quick else SIZES:
            root = write_tiny(suite.work / f"tiny-{n}", n)
            progress(f"  {n} images")
            target = "benchmarks.memory:epochs"
            try:
                result = suite.measure(target, root=str(root), n_workers=n_workers)
            except ChildError as error:
                suite.left_out.append(f"{name}, {n} images, is left out: it failed ({error}).")
                continue
            results.append({"images": n, **result})
        suite.data[name] = results
        rows = [[f"{r['images']}", *(f"{r[key]:.0f}" for key in COLUMNS)] for r in results]
        note = ""
        if len(results) > 1:
            numbers, own = zip(*((r["images"], r["own_mb"] * 2**20) for r in results), strict=True)
            note = NOTE.format(linear_regression(numbers, own).slope, SIZE_PX**2)
        header = ["images", *COLUMNS.values()]
        show(f"{name}: MB after {EPOCHS} epochs of loading", header, rows, note)


def epochs(root: str, n_workers: int) -> Result:
    """Memory of this process and its loader's workers after some epochs without a network."""
    from cxr_lightning.config import DataConfig, SplitConfig
    from cxr_lightning.data.datamodule import XrayDataModule

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
    for number in range(EPOCHS):
        # As Lightning does: another order, so that workers read other pages.
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        for _ in loader:
            pass
    gc.collect()
    workers = [process.pid for process in multiprocessing.active_children() if process.pid]
    file = datamodule.pixels.file
    return processes_memory([os.getpid(), *workers], file)


def processes_memory(pids: list[int], file: Path) -> dict[str, float]:
    """Memory of several processes, added up, in MB; `store_…` are the mappings of `file` alone.

    Proportional: a page that k processes have counts 1/k in each, so that the sum counts it once.
    Own: the proportional memory that is in no file, so that the system cannot take it back.
    """
    all_of_it, of_store = {}, {}
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        all_of_it[pid] = kilobytes((folder / "smaps_rollup").read_text(encoding="utf-8"))
        of_store[pid] = kilobytes((folder / "smaps").read_text(encoding="utf-8"), file)
    return {
        "file_mb": file.stat().st_size / 2**20,
        "own_mb": sum(found["Pss_Anon"] for found in all_of_it.values()) / 2**10,
        "store_rss_mb": sum(found["Rss"] for found in of_store.values()) / 2**10,
        "store_pss_mb": sum(found["Pss"] for found in of_store.values()) / 2**10,
    }


def kilobytes(smaps: str, file: Path | None = None) -> dict[str, float]:
    """`Rss:   123 kB` as `{"Rss": 123.0}`, added up over all mappings, or those of `file`."""
    total = {"Rss": 0.0, "Pss": 0.0}
    counts = True
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # the first line of a mapping: its addresses and its file
            counts = file is None or line.endswith(str(file))
        elif counts and words[-1] == "kB":
            key = words[0].removesuffix(":")
            total[key] = total.get(key, 0.0) + float(words[1])
    return total
