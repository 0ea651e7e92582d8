"""Networks that tests build by name, as a user's own: `_target_: small_networks.LinearNet`."""

import torch
from torch import Tensor, nn


class LinearNet(nn.Module):
    """A convolution of one pixel with two channels, their means, and two logits of them."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Linear(2, num_classes, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[3.0, 1.0], [-1.0, -2.0]]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


class Perceptron(nn.Module):
    """Without a convolution."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(image_size**2, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class Unlearnt(nn.Module):
    """It has weights, but they do not count: its logits are the mean of the image."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 1, 1), Shown())
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        self.features[1].image = x
        means = self.features(x).mean(dim=(1, 2, 3))
        return torch.stack([means] * self.num_classes, dim=1)


class Shown(nn.Module):
    """Gives the image that it was told, whatever it is given."""

    image: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + self.image
