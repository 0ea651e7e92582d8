"""Which machine, which cores, which versions: without them no figure means anything."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "cxr-lightning",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
    "monai",
    "torchxrayvision",
    "scikit-image",
    "fastai",
)


def describe() -> dict[str, Any]:
    """The machine as plain values, and the load when this was asked."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "load_before": round(os.getloadavg()[0], 2),
    }


def sentence(machine: dict[str, Any]) -> str:
    """The same in one paragraph; it warns of a busy machine."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    text = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']}; {versions}."
    )
    if machine["load_before"] > 0.5:
        text += (
            f"\nThe load was {machine['load_before']} before the first run: other programs ran "
            "beside the suite, so times are too long and ratios uncertain."
        )
    return text


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Linux knows the model's name and whether bfloat16 is computed in hardware."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines: dict[str, str] = {}
    for line in info.read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        lines[key.strip()] = value.strip()
    flags = set(lines.get("flags", "").split())
    has = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
    return f"{lines.get('model name', platform.machine())} ({', '.join(has) or 'no bf16'})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
