"""ResNet-18 without its skip connections: what residuals are good for, seen by leaving them out."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class PlainBlock(BasicBlock):  # type: ignore[misc]
    """Two 3×3 convolutions with batch norm and ReLU; the input is not added to the output.

    The "plain" network of He et al., CVPR 2016, section 3.3.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # The projection serves the skip connection only: registered but unused, its parameters
        # would stop DDP.
        super().__init__(inplanes, planes, stride, None, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, inplanes, H, W) to (B, planes, H/stride, W/stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))  # type: ignore[no-any-return]


class Plain18(ResNet):  # type: ignore[misc]
    """ResNet-18 made of `PlainBlock`s."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(PlainBlock, [2, 2, 2, 2], num_classes=num_classes)
