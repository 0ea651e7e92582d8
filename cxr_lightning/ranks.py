"""A run of several processes, one a device: when one of them ends, all end, and the lock is free.

A process that waits for another in a collective runs no Python signal handler, and it waits for up
to 30 minutes. So a thread watches: the signals, the processes that were started, the one that
started them. What it ends is resumed from the last complete epoch: a checkpoint is complete or
absent, and the system releases the lock of a process that has ended.
"""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

from cxr_lightning import startup

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

HEAD = "CXR_RANK_0_PID"
GRACE_S = 10.0
"""How long a process that was told to stop, or whose neighbour failed, may take to end cleanly."""
POLL_S = 0.1
THREAD = "ranks"
STOPPED = "stopped; everything done so far is kept. Rerun the same command to resume."


def watch(trainer: "Trainer") -> None:
    """Start the thread, where the run has several processes. Call it in the main thread.

    Lightning's own handler of SIGTERM (2.6) tells the other processes by a broadcast, which waits
    for ever where they are in another collective: it is left out.
    """
    if not startup.owns_process() or trainer.world_size == 1:
        return
    if threading.current_thread() is not threading.main_thread():
        return
    trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
    children: list[Popen[bytes]] = []
    parent = None
    if hasattr(trainer.strategy.launcher, "procs"):
        if trainer.local_rank == 0:
            os.environ[HEAD] = str(os.getpid())  # the processes that Lightning starts read it
        elif HEAD in os.environ:
            parent = int(os.environ[HEAD])
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    # Written to by C, also while the main thread waits in a collective.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def look() -> None:
        open_end = writer  # noqa: F841 (closed, it could not be written to)
        deadline, status, text = float("inf"), 1, ""
        while True:
            children[:] = getattr(trainer.strategy.launcher, "procs", [])
            if parent is not None and os.getppid() != parent:
                os._exit(1)  # the first process has ended, and said why if it could
            if deadline == float("inf"):
                if number := _received(reader):
                    # Only the first process has files to close. The others end before the first
                    # one's collective breaks: else it would take their end for an error.
                    wait_s = GRACE_S if parent is None else 0.0
                    status, text, deadline = 128 + number, STOPPED, time.monotonic() + wait_s
                elif broken := [one for one in children if one.poll()]:
                    text = _ended(children.index(broken[0]) + 1, broken[0].returncode)
                    # After an error, this process may fail alike and say why.
                    wait_s = 0.0 if _by_signal(broken[0].returncode) else GRACE_S
                    deadline = time.monotonic() + wait_s
            if time.monotonic() >= deadline:
                for child in children:
                    child.kill()
                if parent is None:
                    print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr, flush=True)
                os._exit(status)
            time.sleep(POLL_S)

    threading.Thread(target=look, name=THREAD, daemon=True).start()


def let_the_cause_be_said() -> None:
    """After an error, wait for the thread: a neighbour's end breaks this process's collective."""
    if any(thread.name == THREAD for thread in threading.enumerate()):
        time.sleep(20 * POLL_S)


def _received(reader: socket.socket) -> int:
    """The signal that asks this process to stop, or 0."""
    try:
        numbers = reader.recv(64)
    except BlockingIOError:
        return 0
    return next((n for n in numbers if n in (signal.SIGINT, signal.SIGTERM)), 0)


def _by_signal(status: int) -> bool:
    return status < 0 or status in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def _ended(rank: int, status: int) -> str:
    number = -status if status < 0 else status - 128
    how = f"by signal {number}" if _by_signal(status) else f"with status {status}"
    return (
        f"process {rank} of the run ended {how}, so the others end too. A process that the system "
        "ends (signal 9) often had too little memory. Everything up to the last complete epoch is "
        "kept. Rerun the same command to resume."
    )
