"""(f) The limit: the same network stepped on one batch that is there already."""

import time

import torch
from torch import nn

from benchmarks.training.case import LEARNING_RATE, Case
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
    """The clock at each step's end, seconds.

    No file, no loader, no preprocessing, no metric: float pixels in the network's memory format,
    in as many channels as ours feeds its backbone.

    fused: all of Adam in one kernel. compiled: by torch.compile. keep_memory: `keep_freed_memory`.
    """
    if keep_memory:
        keep_freed_memory()
    channels = 1 if case.model == "cnn5" else 3
    network = case.network(channels).train()
    if compiled:
        network.compile()
    image = torch.rand(case.batch_size, channels, case.image_size, case.image_size)
    image = case.formatted(image)
    label = torch.randint(len(case.classes), (case.batch_size,))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=fused)
    loss_function = nn.CrossEntropyLoss()
    ends = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_function(network(image), label)
        loss.backward()
        optimizer.step()
        ends.append(time.monotonic())
    return ends
