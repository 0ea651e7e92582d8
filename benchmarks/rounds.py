"""Interleaved runs, A B C A B C …, and what is said of a contender that cannot run."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from benchmarks.child import ChildError, Result


@dataclass
class Runs:
    """The results of each contender, one a round; and a sentence for each that was left out."""

    results: dict[str, list[Result]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def values(self, name: str, key: str) -> list[float]:
        """One figure of a contender, a round each."""
        return [float(result[key]) for result in self.results[name]]


def interleave(contenders: Mapping[str, Callable[[int], Result]], rounds: int) -> Runs:
    """Call each contender once a round, with the round's number.

    One that fails is left out from then on with all its rounds, and the reason is kept: the ratios
    of the others still compare like with like.
    """
    runs = Runs()
    for number in range(rounds):
        for name, contender in contenders.items():
            if name in runs.left_out:
                continue
            progress(f"  round {number + 1} of {rounds}: {name}")
            try:
                runs.results.setdefault(name, []).append(contender(number))
            except ChildError as error:
                runs.left_out[name] = f"{name} is left out: it failed ({error})."
                runs.results.pop(name, None)
                progress(f"  {runs.left_out[name]}")
    return runs


def missing_peer(name: str, modules: tuple[str, ...]) -> str | None:
    """Why a contender cannot run here: a sentence that names what to install; None if it can."""
    absent = [module for module in modules if find_spec(module) is None]
    if not absent:
        return None
    return (
        f"{name} is left out: {' and '.join(absent)} not installed "
        "(pip install -r benchmarks/requirements.txt)."
    )


def progress(text: str) -> None:
    """Say on stderr how far it is: stdout holds tables alone."""
    print(text, file=sys.stderr, flush=True)
