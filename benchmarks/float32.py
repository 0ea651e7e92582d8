"""What float32 leaves on a processor: ResNet-18's step as it is, with a grey stem, and compiled.

python -m benchmarks.float32
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from cxr_lightning.models.network import Network

ROUNDS, BATCH, SIZE_PX = 5, 32, 256


def build(kind: str) -> nn.Module:
    """A ResNet-18 of the framework; `grey stem`: its first layer reads one channel."""
    node = {"_target_": "torchvision.models.resnet18"}
    net = Network(node=node, num_classes=4, image_size=SIZE_PX)
    if kind == "grey stem":
        stem = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        net.backbone.conv1 = stem.to(memory_format=torch.channels_last)
        net.preprocess.channels = 1
    if kind == "compiled":
        net.compile()
    return net.train()


def stepper(net: nn.Module) -> Callable[[], float]:
    """A function that trains one batch and returns its seconds."""
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    images = torch.randint(256, (BATCH, 1, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    labels = torch.randint(4, (BATCH,))

    def step() -> float:
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    """Time all kinds in turn; the ratio is the median over rounds of the plain step over it."""
    steps = {kind: stepper(build(kind)) for kind in ("plain", "grey stem", "compiled")}
    first = {kind: step() for kind, step in steps.items()}
    rounds = [{kind: min(step(), step()) for kind, step in steps.items()} for _ in range(ROUNDS)]
    for kind in steps:
        seconds = statistics.median(times[kind] for times in rounds)
        ratio = statistics.median(times["plain"] / times[kind] for times in rounds)
        print(f"{kind}: first step {first[kind]:.1f} s, step {seconds:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
