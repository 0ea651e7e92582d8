"""The report's 5-layer CNN."""

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64)
HIDDEN = 128


class CNN5(nn.Module):
    """Three times convolution-ReLU-max-pool, then two fully connected layers.

    The report names the layers, not their widths; 16, 32, 64 channels of 3×3 and 128 hidden units
    are this project's choice.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for width in WIDTHS:
            # The largest of four is the same before ReLU as after it, which then has less to do.
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        side = image_size // 2 ** len(WIDTHS)
        self.hidden = nn.Linear(channels * side * side, HIDDEN)
        self.head = nn.Linear(HIDDEN, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, image_size, image_size) to logits (B, num_classes)."""
        x = self.features(x).flatten(1)
        return self.head(torch.relu(self.hidden(x)))  # type: ignore[no-any-return]
