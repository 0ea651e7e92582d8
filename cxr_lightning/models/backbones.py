"""The framework's own backbones: the report's CNN in two forms, two variants of ResNet-18."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class CNN5(nn.Module):
    """The report's 5-layer CNN: three times convolution-ReLU-max-pool, two fully connected layers.

    The report names the layers, not their widths; 16, 32, 64 channels of 3×3 and 128 hidden units
    are this project's choice.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in ((in_channels, 16), (16, 32), (32, 64)):
            # The largest of four is the same before ReLU as after it, which then has less to do.
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(64 * (image_size // 8) ** 2, 128)
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, image_size, image_size) to logits (B, num_classes)."""
        hidden: Tensor = self.hidden(self.features(x).flatten(1))
        return self.head(hidden.relu())  # type: ignore[no-any-return]


class CNN5BN(nn.Module):
    """`CNN5` with batch norm, and with average pooling before its fully connected layers.

    The mean of each cell of a `grid` × `grid` raster goes on, so the hidden layer has the same size
    for every image size: 131,200 parameters for a grid of 4, where `CNN5` has 8,388,736 at 256×256.
    """

    def __init__(self, in_channels: int, num_classes: int, grid: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in ((in_channels, 16), (16, 32), (32, 64)):
            convolution = nn.Conv2d(i, o, 3, padding=1, bias=False)  # batch norm adds its own bias
            layers += [convolution, nn.BatchNorm2d(o), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid))
        self.hidden = nn.Linear(64 * grid**2, 128)
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) of at least 8×8 pixels to logits (B, num_classes)."""
        hidden: Tensor = self.hidden(self.features(x).flatten(1))
        return self.head(hidden.relu())  # type: ignore[no-any-return]


class NarrowResNet18(nn.Module):
    """ResNet-18 for grey images, with `width` channels in its first stage instead of 64.

    With a width of 32 it has 2.8 instead of 11.7 million parameters. Two 3×3 convolutions of stride
    2 take the place of the 7×7 convolution and the max pooling, as in He et al., CVPR 2019 ("Bag of
    tricks"), section 4.2.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in ((in_channels, width // 2), (width // 2, width)):
            convolution = nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(o), nn.ReLU()]
        for i, o in ((1, 1), (1, 2), (2, 4), (4, 8)):  # times the width
            layers.append(nn.Sequential(_residual(i * width, o * width), _residual(o * width)))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) of at least 32×32 pixels to logits (B, num_classes)."""
        return self.head(self.features(x))  # type: ignore[no-any-return]


def _residual(inputs: int, outputs: int | None = None) -> BasicBlock:
    """torchvision's block; where the channels change, the image is halved."""
    outputs = outputs or inputs
    if inputs == outputs:
        return BasicBlock(inputs, outputs)
    shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
    return BasicBlock(inputs, outputs, 2, nn.Sequential(shortcut, nn.BatchNorm2d(outputs)))


class PlainBlock(BasicBlock):  # type: ignore[misc]
    """Two 3×3 convolutions with batch norm and ReLU; the input is not added to the output.

    The "plain" network of He et al., CVPR 2016, section 3.3.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # It serves the skip connection only: registered but unused, it would stop DDP.
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, inplanes, H, W) to (B, planes, H/stride, W/stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))  # type: ignore[no-any-return]


class Plain18(ResNet):  # type: ignore[misc]
    """ResNet-18 made of `PlainBlock`s."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(PlainBlock, [2, 2, 2, 2], num_classes=num_classes)
