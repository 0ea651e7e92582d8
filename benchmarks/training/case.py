"""What all contenders share: the images, the network, the settings, and a plain loop."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from cxr_lightning.assemble import choose_precision
from cxr_lightning.config import TrainerConfig
from cxr_lightning.models.backbones import CNN5

LEARNING_RATE = 1e-3
DEGREES, PADDING_PX = 10, 16


@dataclass(frozen=True)
class Case:
    """A training of one epoch.

    root: `train/` and `test/` with class folders. same: with the precision and memory format that
    ours has, else in the contender's usual settings. workers: of the loader. folder: for anything
    the contender writes.
    """

    root: Path
    folder: Path
    model: str
    batch_size: int
    augment: bool
    image_size: int
    workers: int = 0
    same: bool = False

    @cached_property
    def train(self) -> Path:
        """The folder of class folders to train on."""
        return self.root / "train"

    @cached_property
    def classes(self) -> list[str]:
        """Class names, sorted, as all contenders sort them."""
        return sorted(folder.name for folder in self.train.iterdir())

    def network(self, channels: int) -> nn.Module:
        """The network with random weights that reads `channels` (1 or 3) channels.

        cnn5's first layer reads what it is given. ResNet reads three: one grey channel is repeated
        by a view, without a copy.
        """
        network: nn.Module
        if self.model == "cnn5":
            network = CNN5(channels, len(self.classes), self.image_size)
        else:
            body = get_model(self.model, num_classes=len(self.classes))
            network = body if channels == 3 else nn.Sequential(RepeatGrey(), body)
        if self.same:
            network.to(memory_format=torch.channels_last)
        return network

    def formatted(self, image: Tensor) -> Tensor:
        """A batch in the memory format of the network."""
        return image.contiguous(memory_format=torch.channels_last) if self.same else image

    def autocast(self) -> AbstractContextManager[None]:
        """bfloat16 where ours computes in it and this case is given the same."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.same and computes_in_bf16())


class RepeatGrey(nn.Module):
    """(B, 1, H, W) to (B, 3, H, W)."""

    def forward(self, image: Tensor) -> Tensor:
        """A view, no copy."""
        return image.expand(-1, 3, -1, -1)


def computes_in_bf16() -> bool:
    """What `trainer.precision=auto` chooses here."""
    return choose_precision(TrainerConfig(max_epochs=1, accelerator="cpu")) == "bf16-mixed"


def train(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], case: Case) -> list[float]:
    """The plain loop that a tutorial writes, with Adam; the clock at each batch's end, seconds."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
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
