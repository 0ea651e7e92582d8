"""The part `growth`: time and peak memory of each stage on more and more images."""

import shutil

from benchmarks.arithmetic import growth_exponent, significant
from benchmarks.child import ChildError, Result
from benchmarks.rounds import progress
from benchmarks.suite import Part, Suite, Table
from benchmarks.tiny import write_tiny

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_000_000), (1_000, 4_000)
ALL_STAGES_UP_TO = 100_000
STAGES = {
    "index": "index of a folder",
    "splits": "pooled split with validation, by patient",
    "store": "store, first use",
    "reopen": "store, opened again",
    "epoch": "an epoch's bookkeeping: order, metrics",
    "evaluation": "test metrics with intervals",
    "summary": "report of a sweep of 4 jobs",
}
WITHOUT_PIXELS = ("index", "splits", "epoch")


def run(suite: Suite) -> Part:
    """Every stage on every size, one process a size; then how each grows."""
    part = Part()
    stages = [stage for stage in STAGES if suite.wants(f"growth/{stage}")]
    results: dict[str, dict[int, Result]] = {stage: {} for stage in stages}
    cache = suite.work / "growth"
    shutil.rmtree(cache, ignore_errors=True)  # of an earlier call with the same --work
    for n in QUICK_SIZES if suite.quick else SIZES:
        wanted = [s for s in stages if n <= ALL_STAGES_UP_TO or s in WITHOUT_PIXELS]
        if not wanted:
            continue
        progress(f"growth: {n} images")
        root = write_tiny(suite.work / "images" / f"tiny-{n}", n)
        for stage in wanted:
            progress(f"  {stage}")
            try:
                results[stage][n] = suite.measure(
                    f"benchmarks.stages:{stage}", cache, root=str(root), n=n
                )
            except ChildError as error:
                part.left_out.append(f"growth/{stage}, {n} images, is left out: {error}.")
    over = "growth: peak memory over what was resident before the stage, MB"
    part.show(_table(results, "seconds", "growth: seconds"))
    part.show(_table(results, "peak_mb", over))
    part.data["growth"] = {
        stage: {str(n): values for n, values in of_stage.items()}
        for stage, of_stage in results.items()
    }
    return part


def _table(results: dict[str, dict[int, Result]], key: str, title: str) -> Table:
    sizes = sorted({n for of_stage in results.values() for n in of_stage})
    rows = []
    for stage, of_stage in results.items():
        values = {n: float(result[key]) for n, result in of_stage.items()}
        shown = [significant(values[n]) if n in values else "" for n in sizes]
        rows.append([STAGES[stage], *shown, *_exponents(values)])
    header = ["", *(f"{n:,}" for n in sizes), "exponent", "of the last step"]
    note = (
        "Exponent: slope of the logarithm over the logarithm of the number of images, by least "
        "squares over all sizes, then between the two largest. 1 is linear."
    )
    return Table(title, header, rows, note)


def _exponents(values: dict[int, float]) -> list[str]:
    """Over all sizes, and between the two largest, where what is constant counts least."""
    positive = {n: value for n, value in sorted(values.items()) if value > 0}
    if len(positive) < 2:
        return ["", ""]
    sizes, found = list(positive), list(positive.values())
    return [f"{growth_exponent(sizes[i:], found[i:]):.2f}" for i in (0, -2)]
