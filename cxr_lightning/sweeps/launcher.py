"""hydra/launcher=processes: the jobs of a sweep side by side on this machine.

A job is a single run as it would be typed, in a new interpreter and a session of its own. On Linux
it gets SIGTERM when the sweep's process dies, even by SIGKILL; elsewhere it runs to its end.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cxr_lightning.errors import ConfigError
from cxr_lightning.machine import usable_cores
from cxr_lightning.runs.folder import ERROR, job_state, refuse
from cxr_lightning.runs.writing import write_text
from cxr_lightning.sweeps.plan import quoted
from cxr_lightning.sweeps.slots import Slot, slots, visible_gpus

LAST_LINES = 15
PR_SET_PDEATHSIG = 1  # linux/prctl.h
OF_THE_SWEEP = ("", "mode", "launcher", "sweeper", "sweep", "run")  # in Hydra's configuration


@dataclass(eq=False)
class Process:
    """A job's composed configuration, the command line of its process, and where it writes."""

    config: DictConfig
    command: list[str]
    folder: Path
    popen: "subprocess.Popen[bytes]" = field(init=False)

    def start(self, slot: Slot) -> None:
        """Start it in its slot, with its output in `output.log`."""
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

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "output.log").open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment | slot.environment(),
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which then asks its jobs
                preexec_fn=in_child,  # noqa: PLW1509 (it takes no lock)
            )

    def kill(self) -> None:
        """End it and whatever it has left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def tell_failure(self) -> None:
        """Show why it failed, if it did, and record it where the job itself could not."""
        if (status := self.popen.returncode) == 0:
            return
        text = (self.folder / "output.log").read_text(encoding="utf-8", errors="replace")
        log, state = text.splitlines(), job_state(self.folder)
        if state != "failed" and status == 1:
            refuse(self.folder, log[-1] if log else "no reason given")
        elif state in ("unfinished", "waiting"):
            how = f"signal {-status}" if status < 0 else "no trace"
            why = f"ProcessError: ended with status {status} ({how}); see output.log\n"
            write_text(self.folder / ERROR, why)
        print(f"Job {self.folder.name} failed:", *log[-LAST_LINES:], sep="\n  ", flush=True)
        print(f"  (in {self.folder}: {ERROR}, output.log)", flush=True)


class ProcessesLauncher(Launcher):
    """Runs jobs in `n_jobs` slots, each with its share of the cores and the GPUs.

    n_jobs: None: one slot per GPU, else one. grace_s: how long a job may take to end after Ctrl-C.
    """

    def __init__(self, n_jobs: int | None = None, grace_s: float = 30.0) -> None:
        if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs < 1):
            raise ConfigError(f"hydra.launcher.n_jobs={n_jobs}: a whole number from 1 is needed.")
        self.n_jobs, self.grace_s = n_jobs, grace_s

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what `launch` needs."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs; one that fails is told of and does not stop the others."""
        jobs = list(enumerate(job_overrides, initial_job_idx))
        devices = [_devices(self._process(*job).config) for job in jobs]
        waiting = iter(jobs)
        return self.launch_each(lambda: next(waiting, None), devices=max(devices, default=1))

    def launch_each(
        self,
        next_job: Callable[[], tuple[int, Sequence[str]] | None],
        ended: Callable[[int], None] = lambda number: None,
        devices: int | None = None,
    ) -> Sequence[JobReturn]:
        """Run jobs as they are asked for: a slot that is free takes the next one at once.

        next_job: its number and overrides; None: there is none at the moment. ended: called with a
        job's number. devices: per slot; None: as many as the sweep asks for.
        On KeyboardInterrupt every job gets SIGTERM, which ends a run cleanly, and SIGKILL after
        `grace_s` seconds or at a second Ctrl-C; then it is raised again.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        callbacks, gpus = self.context.callbacks, visible_gpus()
        devices = devices or _devices(self.config)
        n_slots = self.n_jobs or max(1, len(gpus) // devices)
        free = slots(n_slots, usable_cores(), gpus, devices)
        running: dict[Slot, tuple[int, Process]] = {}
        returns: dict[int, JobReturn] = {}
        try:
            while True:
                while free and (job := next_job()) is not None:
                    process = self._process(*job)
                    callbacks.on_job_start(config=process.config, task_function=self.task)
                    process.start(free[0])
                    running[free.pop(0)] = (job[0], process)
                if not running:
                    return [returns[number] for number in sorted(returns)]
                while not (
                    done := [s for s, (_, p) in running.items() if p.popen.poll() is not None]
                ):
                    time.sleep(0.1)
                for slot in done:
                    number, process = running.pop(slot)
                    free.append(slot)
                    process.kill()  # what it may have left behind
                    process.tell_failure()
                    told = JobReturn(process.command, process.config, status=JobStatus.COMPLETED)
                    returns[number] = told
                    ended(number)
                    callbacks.on_job_end(config=process.config, job_return=told)
        finally:
            _stop([process for _, process in running.values()], self.grace_s)

    def _process(self, number: int, overrides: Sequence[str]) -> Process:
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        folder = Path(config.folder).absolute()
        with open_dict(config), read_write(config.hydra.runtime):
            config.hydra.job.id = config.hydra.job.num = number
            config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)  # for the ${hydra:…} in the configuration
        hydra = self.config.hydra
        sources = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
        named = hydra.job.config_name if hydra.job.config_name != hydra.job.name else None
        command = [
            *(sys.executable, "-m", f"cxr_lightning.{hydra.job.name}"),
            *(f"--config-dir={path}" for path in sources),
            *([f"--config-name={named}"] if named else []),
            *overrides,
            *(word for word in hydra.overrides.hydra if not _is_of_the_sweep(word)),
            f"hydra.run.dir={quoted(str(folder))}",
        ]
        return Process(config, command, folder)


def _devices(config: DictConfig) -> int:
    """How many devices a job asks for; `auto` is one, or it would take its neighbours' too."""
    devices = OmegaConf.select(config, "trainer.devices")
    return devices if isinstance(devices, int) and devices > 0 else 1


def _is_of_the_sweep(override: str) -> bool:
    """Whether one of Hydra's own overrides says how the sweep is run, and nothing of a job."""
    key = override.lstrip("+~").partition("=")[0].replace("/", ".")
    return f"{key}.".split(".")[1] in OF_THE_SWEEP


def _stop(processes: Sequence[Process], grace_s: float) -> None:
    """End all: asked first, then forced."""
    if not processes:
        return
    print(f"Stopping {len(processes)} jobs, at most {grace_s:.0f} s …", flush=True)
    try:
        deadline = time.monotonic() + grace_s
        for process in processes:
            process.popen.terminate()
        for process in processes:
            process.popen.wait(max(0.0, deadline - time.monotonic()))
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        pass
    finally:
        for process in processes:
            process.kill()
