"""What of this machine the process may use."""

import os


def usable_cores() -> list[int]:
    """The processor cores this process may use, by number: a job beside others has its share."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
