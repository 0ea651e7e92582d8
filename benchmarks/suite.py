"""What every part is given: the images, the sizes, where to work; and what it gives back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmarks.child import Result, call


@dataclass(frozen=True)
class Suite:
    """One call of the suite.

    images: the folder given. found: its images, in a random order (`images.find_images`). work: a
    folder of its own.
    only, contenders: names of parts and cases, and of who is compared in training; empty for all.
    """

    images: Path
    found: pd.DataFrame
    work: Path
    rounds: int
    n_images: int
    image_size: int
    quick: bool
    only: Sequence[str] = ()
    contenders: Sequence[str] = ()

    @property
    def cache(self) -> Path:
        """Decoded pixels and the like, kept from run to run."""
        return self.work / "cache"

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """An empty folder for a run, gone afterwards: checkpoints would fill the disk."""
        runs = self.work / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=runs) as folder:
            yield Path(folder)

    def measure(self, target: str, cache: Path | None = None, **arguments: Any) -> Result:
        """Call `module:function` in a process of its own and remove what it wrote."""
        with self.new_folder() as folder:
            return call(target, folder, cache or self.cache, **arguments)

    def asks_for(self, part: str) -> bool:
        """Whether `only` names this part, or cases of it."""
        return any(asked.partition("/")[0] == part for asked in self.only)

    def wants(self, name: str) -> bool:
        """Whether `only` names this part or case, a part of it, or what it belongs to."""
        return not self.only or any(
            f"{name}/".startswith(f"{asked}/") or f"{asked}/".startswith(f"{name}/")
            for asked in self.only
        )


@dataclass(frozen=True)
class Table:
    """Rows for reading; the figures themselves are in a part's `data`."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title."""
        body = tabulate(self.rows, self.header, tablefmt="github", disable_numparse=True)
        return "\n\n".join(text for text in (f"### {self.title}", body, self.note) if text)


@dataclass
class Part:
    """What a part found.

    data: plain values for the JSON file. left_out: a sentence for each contender or stage that
    could not be measured.
    """

    tables: list[Table] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def show(self, table: Table) -> None:
        """Keep a table and print it at once: the next one may take an hour."""
        self.tables.append(table)
        print(f"{table.markdown()}\n", flush=True)
