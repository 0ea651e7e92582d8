"""What every part is given (the images, the sizes, where to work), and where its figures go."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmarks.child import ChildError, Result, call

Run = Callable[[int], Result]
"""One measurement, given the number of its round."""


@dataclass(frozen=True)
class Suite:
    """One call of the command.

    found: the images, in a random order (`images.find_images`). work: a folder of its own.
    only, contenders: names of parts and cases, and of the contenders in training; empty for all.
    data: the figures of each case, as plain values for the JSON file. left_out: one sentence for
    each contender or stage that could not be measured.
    """

    found: pd.DataFrame
    work: Path
    rounds: int = 1
    n_images: int = 64
    image_size: int = 64
    quick: bool = True
    only: Sequence[str] = ()
    contenders: Sequence[str] = ()
    data: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def wants(self, name: str) -> bool:
        """Whether `only` names this part or case, something inside it, or what it belongs to."""
        return not self.only or any(
            f"{name}/".startswith(f"{asked}/") or f"{asked}/".startswith(f"{name}/")
            for asked in self.only
        )

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """An empty folder for a run, removed afterwards: checkpoints would fill the disk."""
        with TemporaryDirectory(dir=self.work) as folder:
            yield Path(folder)

    def measure(self, target: str, cache: Path | None = None, **arguments: Any) -> Result:
        """Call `module:function` in a new process, and remove what it wrote."""
        with self.new_folder() as folder:
            return call(target, folder, cache or self.work / "cache", **arguments)

    def interleave(
        self, case: str, contenders: Mapping[str, Run], rounds: int = 0
    ) -> dict[str, list[Result]]:
        """Call each contender once per round, A B C A B C …; returns its results of all rounds.

        A contender that fails is left out from then on, with all its rounds, and the reason goes to
        `left_out`: the ratios of the others still compare like with like.
        """
        results: dict[str, list[Result]] = {name: [] for name in contenders}
        rounds = rounds or self.rounds
        for number in range(rounds):
            for name in list(results):
                progress(f"  round {number + 1} of {rounds}: {name}")
                try:
                    results[name].append(contenders[name](number))
                except ChildError as error:
                    self.left_out.append(f"{case}: {name} is left out: it failed ({error}).")
                    del results[name]
                    progress(f"  {self.left_out[-1]}")
        return results


def values(results: Mapping[str, Sequence[Result]], key: str) -> dict[str, list[float]]:
    """One figure of each contender in each round."""
    return {name: [float(r[key]) for r in of_rounds] for name, of_rounds in results.items()}


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print a Markdown table under its title at once: the next one may take an hour."""
    body = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    print("\n\n".join(text for text in (f"### {title}", body, note) if text) + "\n", flush=True)


def progress(text: str) -> None:
    """Report progress on stderr: stdout holds only the tables."""
    print(text, file=sys.stderr, flush=True)
