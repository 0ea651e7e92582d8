"""Who is compared in training: one module per contender, each in its users' own idiom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

OURS, LIMIT, STUDENT = "ours", "limit", "student"
Options = dict[str, Any]
FAST: Options = {"fused": True, "keep_memory": True}
# bfloat16 first: the quick run takes the first.
LIMITS: tuple[Options, ...] = (
    {**FAST, "bf16": True},
    FAST,
    {**FAST, "bf16": True, "compiled": True},
    {"bf16": True},
)


@dataclass(frozen=True)
class Contender:
    """A way to train.

    module: in this package, with `run(case, **options)`. same: given the precision and
    memory format of ours. needs: a module that must be installed. choices: options tried once for
    each network, of which the fastest is measured.
    """

    name: str
    module: str
    same: bool = False
    needs: str = "torch"
    choices: tuple[Options, ...] = ({},)


USUAL = [
    Contender(STUDENT, "student"),
    Contender("Lightning template", "template"),
    Contender("MONAI CacheDataset", "monai_cached", needs="monai"),
    Contender("TorchXRayVision", "xrayvision", needs="torchxrayvision"),
    Contender("fastai", "fastai_learner", needs="fastai"),
]
SUFFIX = ", given the same"
SAME = [replace(c, name=f"{c.name}{SUFFIX}", same=True) for c in USUAL]
CONTENDERS = [
    Contender(OURS, "ours"),
    *USUAL,
    *SAME,
    Contender(LIMIT, "limit", same=True, choices=LIMITS),
]


def available(names: Sequence[str] = ()) -> tuple[list[Contender], list[str]]:
    """Of those named, or all, who can run here, and a sentence for each that cannot."""
    wanted = [c for c in CONTENDERS if not names or c.name in names]
    can = [c for c in wanted if find_spec(c.needs)]
    return can, [
        f"{c.name} is left out: {c.needs} is not installed "
        "(pip install -r benchmarks/requirements.txt)."
        for c in wanted
        if c not in can
    ]
