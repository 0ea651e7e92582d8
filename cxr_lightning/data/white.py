"""What value is white in a set whose images have 16 bits: one for all, so that films compare.

Detectors store 10, 12 or 14 bits in 16. The largest value of a single film says little about its
detector; that of the whole set says how many bits are in use.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from cxr_lightning.data.decode import white_of
from cxr_lightning.machine import usable_cores


def common_white(files: Iterable[Path]) -> int | None:
    """The value of white for all these files; None where none of them has 16 bits."""
    return max(whites_of(list(files)), default=0) or None


def whites_of(files: list[Path]) -> list[int]:
    """`white_of` every file, on all cores."""
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        results, console = pool.map(white_of, files), Console(stderr=True)
        return list(
            track(results, "Looking at images", len(files), console=console, transient=True)
        )
