"""What the C library does with memory that is freed."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, instead of giving them back to the system.

    On a processor each training step allocates the same activations anew. Given back, each of
    their pages would be mapped and zeroed again, half of the time of a small network's step.
    The process holds more memory for it: as much as its largest step. Elsewhere than on glibc this
    does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
