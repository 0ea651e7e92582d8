"""Slots: how the jobs of a sweep share this machine's cores and GPUs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Slot:
    """A share of the machine: processor cores by number, and GPUs as CUDA names them."""

    number: int
    cores: tuple[int, ...]
    gpus: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """The variables that keep a process within its share."""
        share = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(len(self.cores)))
        return share | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})


def slots(n: int, cores: Sequence[int], gpus: Sequence[str], gpus_per_job: int = 1) -> list[Slot]:
    """Divide cores and GPUs among n slots; with more slots than there are, some share one."""
    shares, ends = [], [-(-i * len(cores) // n) for i in range(n + 1)]
    for i in range(n):
        own = cores[ends[i] : ends[i + 1]] or [cores[i % len(cores)]]
        numbers = range(i * gpus_per_job, i * gpus_per_job + min(gpus_per_job, len(gpus)))
        shares.append(Slot(i, tuple(own), tuple(gpus[k % len(gpus)] for k in numbers)))
    return shares


def visible_gpus() -> list[str]:
    """NVIDIA GPUs as CUDA_VISIBLE_DEVICES lists them, or as many as the system has."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
