"""The null ladder beside a sweep's cells: what is not the disease, on the same test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from cxr_lightning.audit.rungs import NAMES, beyond_nothing
from cxr_lightning.contrasts import Interval, contrast
from cxr_lightning.sweeps.cells import Cell, pooled
from cxr_lightning.sweeps.comparisons import SameTests

FILE = "ladder.csv"


@dataclass(frozen=True)
class Nulls:
    """The rungs, as cells of one seed, on the images that these cells were tested on."""

    tested: SameTests
    rungs: SameTests

    @property
    def highest(self) -> Cell:
        """The rung with the highest accuracy."""
        return max(self.rungs.cells, key=lambda rung: float(rung.values_of["accuracy"][0]))

    def rows(self, metric: str) -> dict[str, Interval]:
        """Each rung's value, by its name."""
        return {rung.name: self.rungs.mean(rung, metric) for rung in self.rungs.cells}

    @cached_property
    def above(self) -> dict[str, dict[str, Interval]]:
        """By cell and rung: how much more accurate the cell is, on the same images."""
        samples = self.tested.samples["accuracy"] | self.rungs.samples["accuracy"]
        n = len(self.tested.patients)
        return {
            cell.name: {
                rung.name: contrast(samples, {cell.name: 1.0, rung.name: -1.0}, n)
                for rung in self.rungs.cells
            }
            for cell in self.tested.cells
        }

    @property
    def texts(self) -> pd.DataFrame:
        """One row per rung."""
        rows = []
        for rung in self.rungs.cells:
            row = {"what is seen": rung.name}
            for metric, title in (("accuracy", "accuracy"), ("f1_macro", "macro F1")):
                found = self.rungs.mean(rung, metric)
                row[title] = f"{100 * found.value:.1f}% ({found.limits.replace(' to ', '–')})"
            rows.append(row)
        return pd.DataFrame(rows)

    def sentences(self, cells: Sequence[Cell]) -> list[str]:
        """How far each of these cells is above the highest rung, and what follows."""
        found, rung = [], self.highest.name
        for cell in cells:
            found.append(beyond_nothing(f"“{cell.name}”", rung, self.above[cell.name][rung]))
        return found


def find_nulls(sets: Sequence[SameTests]) -> list[Nulls]:
    """The ladder of each set of test images that has one."""
    return [
        Nulls(tested, SameTests(rungs, tested.n_resamples))
        for tested in sets
        if (rungs := _rungs(tested))
    ]


def _rungs(tested: SameTests) -> list[Cell]:
    """Of the first seed all of whose runs have a ladder; the rungs that all of them have."""
    for seed in (seed for cell in tested.cells for seed in cell.seeds):
        files = [run.folder / FILE for run in seed.runs]
        if all(file.exists() for file in files):
            there = [set(pd.read_csv(file, usecols=["rung"])["rung"]) for file in files]
            keys = [key for key in NAMES if all(key in found for found in there)]
            rungs = [(NAMES[key], pooled(seed.runs, FILE, key)) for key in keys]
            return [Cell(name, {}, 1, 1, [one], []) for name, one in rungs]
    return []
