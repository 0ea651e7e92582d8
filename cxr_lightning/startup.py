"""What a command does once in its process before it trains or tests.

A notebook or a script that calls `run` itself keeps its process as it is: nothing here happens
unless `own_process` was called, and only commands call it.
"""

import ctypes
import gc
import os
import platform
import sys
from importlib import import_module

LIBRARIES = (
    "pytorch_lightning",
    "torch.utils.tensorboard",
    "torchvision.transforms.v2",
    "sklearn.model_selection",
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), glibc's malloc.h."""

_owned = False


def own_process() -> None:
    """Say that this process belongs to a command, which may change its settings."""
    global _owned  # noqa: PLW0603 (a process is owned or not)
    _owned = True
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files: there may be no screen


def owns_process() -> bool:
    """Whether this process belongs to a command."""
    return _owned


def prepare() -> None:
    """In a command's process, import what every run needs, and keep memory for its steps."""
    if _owned:
        import_libraries()
        keep_freed_memory()


def import_libraries() -> None:
    """Import the large libraries while the garbage collector is off.

    They leave hundreds of thousands of objects that live as long as the process. The collector
    would walk over them many times during the imports, and once more at the end: two of five
    seconds of a process that does nothing else. This happens once only: a later call could freeze
    the garbage of an earlier run.
    """
    if "pytorch_lightning" in sys.modules:
        return
    gc.disable()
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    gc.enable()


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, instead of returning them to the system.

    On a processor each training step allocates the same activations anew. If they were returned,
    each of their pages would be mapped and zeroed again, which is half of the time of a small
    network's step. In return, the process holds as much memory as its largest step. With another C
    library than glibc this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
