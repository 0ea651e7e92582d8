"""Jobs side by side on one machine: slots, their cores and GPUs, and an end that leaves nothing.

A job is the single run of its cell, as it would be typed, in a new interpreter and a session of its
own. On Linux a job also gets SIGTERM when the sweep's process dies, even by SIGKILL; elsewhere such
a job runs to its end.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from cxr_lightning.errors import ConfigError
from cxr_lightning.runs.folder import ERROR, job_state
from cxr_lightning.sweeps.naming import CONFIG_OPTIONS
from cxr_lightning.sweeps.plan import refuse

LAST_LINES = 15
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Process:
    """What a job's process is given, and where it writes; devices: GPUs it needs, if there are."""

    config: DictConfig
    command: str
    overrides: list[str]
    hydra_overrides: list[str]
    folder: Path
    devices: int

    @property
    def words(self) -> list[str]:
        """The command line."""
        module = f"cxr_lightning.{self.command}"
        options = config_options(sys.argv)
        return [sys.executable, "-m", module, *options, *self.overrides, *self.hydra_overrides]


@dataclass(frozen=True)
class Slot:
    """A share of the machine: processor cores by number, and GPUs as CUDA names them."""

    number: int
    cores: tuple[int, ...]
    gpus: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """The variables that keep a process within its share."""
        threads = str(len(self.cores))
        share = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        return share | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})


def run_processes(
    jobs: Sequence[Process],
    n_jobs: int | None,
    grace_s: float,
    started: Callable[[Process], None],
    ended: Callable[[Process], None],
) -> None:
    """Run all jobs in `n_jobs` slots (None: one a GPU, else one); output goes to `output.log`.

    started, ended: called for each job. On KeyboardInterrupt every job gets SIGTERM, which ends a
    run cleanly, and SIGKILL after `grace_s` seconds or at a second one; then it is raised again.

    Raises:
        ConfigError: `n_jobs` is less than 1.
    """
    gpus = visible_gpus()
    if n_jobs is not None and n_jobs < 1:
        raise ConfigError(f"hydra.launcher.n_jobs={n_jobs}: at least 1 is needed.")
    devices = max((job.devices for job in jobs), default=1)
    free = slots(n_jobs or max(1, len(gpus) // devices), available_cores(), gpus, devices)
    waiting, running = list(jobs), dict[Slot, tuple[Process, subprocess.Popen[bytes]]]()
    try:
        while waiting or running:
            while waiting and free:
                slot, job = free.pop(0), waiting.pop(0)
                started(job)
                running[slot] = (job, _start(job, slot))
            for slot, (job, process) in list(running.items()):
                if process.poll() is not None:
                    running.pop(slot)
                    free.append(slot)
                    _finish(job, process)
                    ended(job)
            time.sleep(0.1)
    finally:
        _stop([process for _, process in running.values()], grace_s)


def slots(n: int, cores: Sequence[int], gpus: Sequence[str], gpus_per_job: int = 1) -> list[Slot]:
    """Divide cores and GPUs among n slots; with more slots than there are, some share one."""
    size, rest = divmod(len(cores), n)
    shares, start = [], 0
    for i in range(n):
        stop = start + size + (i < rest)
        own = cores[start:stop] or [cores[i % len(cores)]]
        first = i * gpus_per_job
        of_slot = [gpus[(first + k) % len(gpus)] for k in range(min(gpus_per_job, len(gpus)))]
        shares.append(Slot(i, tuple(own), tuple(of_slot)))
        start = stop
    return shares


def visible_gpus() -> list[str]:
    """NVIDIA GPUs as CUDA_VISIBLE_DEVICES lists them, or as many as the system has."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def available_cores() -> list[int]:
    """The cores that this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def config_options(argv: Sequence[str]) -> list[str]:
    """Hydra's options that say where the configuration is, as they were given."""
    kept: list[str] = []
    for i, word in enumerate(argv):
        if word.partition("=")[0] in CONFIG_OPTIONS:
            kept += [word] if "=" in word else list(argv[i : i + 2])
    return kept


def _start(job: Process, slot: Slot) -> "subprocess.Popen[bytes]":
    parent = os.getpid()
    # Set by `cli` for itself; a job's errors are sentences, with the trace in error.txt.
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def in_child() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, slot.cores)
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died in between
                os.kill(os.getpid(), signal.SIGTERM)

    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "output.log").open("ab") as output:
        return subprocess.Popen(
            job.words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | slot.environment(),
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which then asks its jobs
            preexec_fn=in_child,  # noqa: PLW1509 (it takes no lock)
        )


def _finish(job: Process, process: "subprocess.Popen[bytes]") -> None:
    """Show why a job failed, and record it where the job itself could not."""
    _kill_group(process)  # what it may have left behind
    if process.returncode == 0:
        return
    said = (job.folder / "output.log").read_text(errors="replace").splitlines()
    state = job_state(job.folder)
    if state != "failed" and process.returncode == 1:
        refuse(job.folder.parent, job.folder.name, said[-1] if said else "no reason given")
    elif state in ("unfinished", "waiting"):
        how = f"signal {-process.returncode}" if process.returncode < 0 else "no trace"
        (job.folder / ERROR).write_text(
            f"ProcessError: ended with status {process.returncode} ({how}); see output.log\n"
        )
    print(f"Job {job.folder.name} failed:", *said[-LAST_LINES:], sep="\n  ", flush=True)
    print(f"  (in {job.folder}: {ERROR}, output.log)", flush=True)


def _stop(processes: Sequence["subprocess.Popen[bytes]"], grace_s: float) -> None:
    """End all: asked first, then forced."""
    if not processes:
        return
    print(f"Stopping {len(processes)} jobs, at most {grace_s:.0f} s …", flush=True)
    try:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        pass
    finally:
        for process in processes:
            _kill_group(process)
            process.wait()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
