"""What a sweep's cells reach on the images of other hospitals, which chose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_lightning.contrasts import Interval
from cxr_lightning.runs.folder import EXTERNAL
from cxr_lightning.sweeps.cells import PREDICTIONS, Cell, Run, find_cells
from cxr_lightning.sweeps.comparisons import SameTests, same_tests
from cxr_lightning.sweeps.plan import Plan

FOLDER = EXTERNAL


@dataclass(frozen=True)
class Elsewhere:
    """The cells of a sweep on one other set, by their names."""

    name: str
    tested: dict[str, SameTests]
    cells: dict[str, Cell]

    def mean(self, cell: str, metric: str) -> Interval | None:
        """A cell's mean over its seeds; None where it was not tested there, or there is none."""
        if cell not in self.cells or metric not in self.tested[cell].samples:
            return None
        return self.tested[cell].mean(self.cells[cell], metric)


def find_elsewhere(plan: Plan, runs: Sequence[Run], n_resamples: int) -> list[Elsewhere]:
    """Every set that a run was tested on at its end (`external=[…]`), in the order of names."""
    names = sorted({at.parent.name for run in runs for at in _files(run)})
    found = []
    for name in names:
        cells = find_cells(plan, runs, f"{FOLDER}/{name}/{PREDICTIONS}")
        sets = same_tests(cells, n_resamples)
        tested = {cell.name: one for one in sets for cell in one.cells}
        found.append(Elsewhere(name, tested, {c.name: c for c in cells if c.seeds}))
    return found


def _files(run: Run) -> list[Path]:
    return sorted((run.folder / FOLDER).glob(f"*/{PREDICTIONS}"))
