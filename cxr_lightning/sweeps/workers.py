"""The processes that work on one study: each holds a lock on a file as long as it lives."""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def worker(folder: Path) -> Iterator[str]:
    """Hold this process's lock; yields its name."""
    # A number of its own: a container that is started again has the same host and pid.
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    file = folder / "workers" / f"{name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        yield name
    file.unlink(missing_ok=True)


def is_gone(folder: Path, worker: str) -> bool:
    """Whether a worker is known to be dead; one on another machine may be alive."""
    file = folder / "workers" / f"{worker}.lock"
    if not file.exists():
        return worker.rsplit("-", 2)[0] == socket.gethostname()
    try:
        with FileLock(file, timeout=0):
            return True
    except Timeout:
        return False
