"""Who is compared in training, and the settings of which the fastest is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rounds import missing_peer

OURS, LIMIT = "ours", "limit"
Options = dict[str, Any]
WORKERS: tuple[Options, ...] = ({"workers": 2},)
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

    module: in `benchmarks.training`, with `run(case, **options)`. choices: options tried once for
    each network, of which the fastest is measured. same: given ours' precision and memory format.
    needs: modules that must be installed.
    """

    name: str
    module: str
    choices: tuple[Options, ...] = WORKERS
    same: bool = False
    needs: tuple[str, ...] = ()


def _peers(same: bool) -> list[Contender]:
    suffix = ", given the same" if same else ""
    return [
        Contender(f"student{suffix}", "student", same=same),
        Contender(f"Lightning template{suffix}", "template", same=same),
        Contender(f"MONAI CacheDataset{suffix}", "monai_cached", same=same, needs=("monai",)),
        Contender(f"TorchXRayVision{suffix}", "xrayvision", same=same, needs=("torchxrayvision",)),
        Contender(f"fastai{suffix}", "fastai_learner", same=same, needs=("fastai",)),
    ]


USUAL, SAME = _peers(same=False), _peers(same=True)

CONTENDERS = (
    Contender(OURS, "ours", choices=({},)),
    *USUAL,
    *SAME,
    Contender(LIMIT, "limit", LIMITS, same=True),
)


def available(names: Sequence[str] = ()) -> tuple[list[Contender], list[str]]:
    """Of those named, or all, who can run here, and a sentence for each that cannot."""
    wanted = [c for c in CONTENDERS if not names or c.name in names]
    sentences = {c.name: missing_peer(c.name, c.needs) for c in wanted}
    can = [c for c in wanted if sentences[c.name] is None]
    return can, [sentence for sentence in sentences.values() if sentence]
