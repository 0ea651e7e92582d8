"""What all contenders share: the images, the network, the settings, and a plain loop."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from cxr_lightning.models.backbones import CNN5

LEARNING_RATE = 1e-3
DEGREES, PADDING_PX = 10, 16


@dataclass(frozen=True)
class Case:
    """A training; what a contender writes goes to the working folder.

    root: `train/` and `test/` with class folders. same: with the memory format that ours has, else
    in the contender's usual one. bf16: bfloat16 autocast, else float32. workers: of the loader.
    """

    root: Path
    model: str
    batch_size: int
    augment: bool
    image_size: int
    same: bool = False
    bf16: bool = False
    workers: int = 2

    @cached_property
    def classes(self) -> list[str]:
        """Class names, sorted, as all contenders sort them."""
        return sorted(folder.name for folder in (self.root / "train").iterdir())

    @cached_property
    def files(self) -> list[tuple[Path, int]]:
        """Training images with their labels."""
        return [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((self.root / "train" / name).iterdir())
        ]

    def network(self, channels: int) -> nn.Module:
        """The network with random weights that reads `channels` (1 or 3) channels.

        The first layer of cnn5 reads what it is given. ResNet reads three: one grey channel is
        repeated by a view, without a copy.
        """
        network: nn.Module
        if self.model == "cnn5":
            network = CNN5(channels, len(self.classes), self.image_size)
        else:
            network = torchvision.models.get_model(self.model, num_classes=len(self.classes))
            if channels == 1:
                network.register_forward_pre_hook(lambda _, x: (x[0].expand(-1, 3, -1, -1),))
        return network.to(memory_format=torch.channels_last) if self.same else network

    def formatted(self, image: Tensor) -> Tensor:
        """A batch in the memory format of the network."""
        return image.contiguous(memory_format=torch.channels_last) if self.same else image

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass and the loss."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


def adam(network: nn.Module, fused: bool | None = None) -> torch.optim.Optimizer:
    """The optimizer of every contender. fused: the whole step in one kernel."""
    return torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=fused)


def train(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    case: Case,
    optimizer: torch.optim.Optimizer,
) -> list[float]:
    """The plain loop that a tutorial writes; the clock at the end of each batch, in seconds."""
    loss_function = nn.CrossEntropyLoss()
    network.train()
    total, ends = 0.0, []
    for image, label in batches:
        optimizer.zero_grad()
        with case.autocast():
            loss = loss_function(network(case.formatted(image)), label)
        loss.backward()
        optimizer.step()
        total += loss.item()
        ends.append(time.monotonic())
    print(f"loss {total / len(ends):.3f}")
    return ends
