"""Which machine, which cores, which versions: without them no figure means anything."""

import os
import platform
import re
from importlib.metadata import distributions
from pathlib import Path

from cxr_lightning.machine import usable_cores

PACKAGES = re.compile(
    "cxr-lightning|torch|torchvision|pytorch-lightning|torchmetrics|numpy|pandas|scikit-learn|"
    "pillow|monai|torchxrayvision|scikit-image|fastai"
)


def describe() -> str:
    """The machine and the versions in one paragraph, with a warning if the machine is busy."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    installed = {found.name.lower(): found.version for found in distributions()}
    versions = [f"{name} {installed[name]}" for name in installed if PACKAGES.fullmatch(name)]
    text = (
        f"{_processor()}, {len(usable_cores())} cores, {memory_gb:.1f} GB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; {', '.join(sorted(versions))}."
    )
    load = os.getloadavg()[0]
    if load > 0.5:
        text += (
            f"\nThe load was {load:.2f} before the first run: other programs ran at the same time, "
            "so the times are too long and the ratios uncertain."
        )
    return text


def _processor() -> str:
    """Linux knows the model's name and whether bfloat16 is computed in hardware."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor() or platform.machine()
    info = file.read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    has = [name for name in ("avx512_bf16", "amx_bf16") if re.search(rf"\b{name}\b", info)]
    return f"{model[1] if model else platform.machine()} ({', '.join(has) or 'no bf16'})"
