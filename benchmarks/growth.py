"""The part `growth`: time and peak memory of each stage on more and more images."""

from benchmarks.arithmetic import growth_exponent, significant
from benchmarks.child import ChildError, Result
from benchmarks.suite import Suite, progress, show
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
TABLES = {"seconds": "seconds", "peak_mb": "peak memory above what was resident before, MB"}
NOTE = (
    "Exponent: slope of the logarithm over the logarithm of the number of images, by least "
    "squares over all sizes, then between the two largest. 1 is linear."
)


def run(suite: Suite) -> None:
    """Every stage on every size, each in a new process; then how each grows."""
    stages = [stage for stage in STAGES if suite.wants(f"growth/{stage}")]
    results: dict[str, dict[int, Result]] = {stage: {} for stage in stages}
    for n in QUICK_SIZES if suite.quick else SIZES:
        wanted = [s for s in stages if n <= ALL_STAGES_UP_TO or s in WITHOUT_PIXELS]
        if not wanted:
            continue
        progress(f"growth: {n} images")
        root = write_tiny(suite.work / f"tiny-{n}", n)
        for stage in wanted:
            progress(f"  {stage}")
            target, cache = f"benchmarks.stages:{stage}", suite.work / "growth"
            try:
                results[stage][n] = suite.measure(target, cache, root=str(root), n=n)
            except ChildError as error:
                suite.left_out.append(f"growth/{stage}, {n} images, is left out: {error}.")
    suite.data["growth"] = results
    sizes = sorted({n for of_stage in results.values() for n in of_stage})
    header = ["", *(f"{n:,}" for n in sizes), "exponent", "of the last step"]
    for key, title in TABLES.items():
        rows = []
        for stage, of_stage in results.items():
            found = {n: float(result[key]) for n, result in of_stage.items()}
            shown = [significant(found[n]) if n in found else "" for n in sizes]
            rows.append([STAGES[stage], *shown, *exponents(found)])
        show(f"growth: {title}", header, rows, NOTE)


def exponents(found: dict[int, float]) -> list[str]:
    """Over all sizes, and between the two largest, where what is constant counts least."""
    positive = {n: value for n, value in sorted(found.items()) if value > 0}
    if len(positive) < 2:
        return ["", ""]
    sizes, values = list(positive), list(positive.values())
    return [f"{growth_exponent(sizes[i:], values[i:]):.2f}" for i in (0, -2)]
