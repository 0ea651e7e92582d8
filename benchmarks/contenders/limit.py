"""The limit: the same network stepped on one batch that is already there."""

from dataclasses import replace
from itertools import repeat

import torch

from benchmarks.contenders.case import Case, adam, train
from cxr_lightning.startup import keep_freed_memory


def run(
    case: Case,
    *,
    steps: int,
    bf16: bool = False,
    fused: bool = False,
    compiled: bool = False,
    keep_memory: bool = False,
) -> list[float]:
    """The clock at the end of each step, in seconds.

    No file, no loader, no preprocessing, no metric: float pixels in the network's memory format,
    in as many channels as ours feeds its backbone.

    fused: all of Adam in one kernel. compiled: by torch.compile. keep_memory: `keep_freed_memory`.
    """
    if keep_memory:
        keep_freed_memory()
    channels = 1 if case.model == "cnn5" else 3
    network = case.network(channels)
    if compiled:
        network.compile()
    image = torch.rand(case.batch_size, channels, case.image_size, case.image_size)
    label = torch.randint(len(case.classes), (case.batch_size,))
    batch = (case.formatted(image), label)
    return train(network, repeat(batch, steps), replace(case, bf16=bf16), adam(network, fused))
