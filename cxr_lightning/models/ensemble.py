"""Several networks, or several views of an image, as one network: wrappers that give logits."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop, horizontal_flip, resize

from cxr_lightning.errors import ConfigError


def mean_of_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of softmax(logits), each (B, C): its softmax is that mean."""
    log_p = torch.stack([one.float().log_softmax(dim=1) for one in logits])
    return log_p.logsumexp(dim=0) - math.log(len(logits))


class Ensemble(nn.Module):
    """Averages the probabilities of its members (Lakshminarayanan et al., NeurIPS 2017)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to log-probabilities (B, C)."""
        return mean_of_probabilities([member(image) for member in self.members])


def zoomed(image: Tensor) -> Tensor:
    """The middle 7/8 of the image, as large as the whole."""
    size = list(image.shape[-2:])
    middle = center_crop(image, [round(side * 7 / 8) for side in size])
    return resize(middle, size, antialias=True)  # type: ignore[no-any-return]


VIEWS: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "none": [],
    "flip": [horizontal_flip],
    "flip_zoom": [horizontal_flip, zoomed, lambda image: horizontal_flip(zoomed(image))],
}


class Views(nn.Module):
    """Averages the probabilities of an image and of views of it: test-time augmentation."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.views = network, VIEWS[name]

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to log-probabilities (B, C)."""
        images = [image, *(view(image) for view in self.views)]
        return mean_of_probabilities([self.network(one) for one in images])


class Shifted(nn.Module):
    """Adds an offset to each class's log-probability, as `decisions.offsets` chooses them."""

    offsets: Tensor

    def __init__(self, network: nn.Module, offsets: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to logits (B, C)."""
        return self.network(image).float().log_softmax(dim=1) + self.offsets  # type: ignore[no-any-return]


class Tempered(nn.Module):
    """Divides the log-probabilities by a temperature, as `decisions.calibration` finds it."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, image: Tensor) -> Tensor:
        """uint8 grey (B, 1, H, W) to logits (B, C)."""
        return self.network(image).float() / self.temperature  # type: ignore[no-any-return]


def mean_of_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The average of state dicts: a "soup" (Wortsman et al., ICML 2022); whole numbers: the first.

    Raises `ConfigError` where they are not of the same network.
    """
    first = states[0]
    for state in states[1:]:
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in first.items()}:
            raise ConfigError(
                "combine=weights: these checkpoints are not of the same network. "
                "combine=probabilities averages what different networks say."
            )
    mean = {k: torch.stack([state[k].double() for state in states]).mean(dim=0) for k in first}
    return {k: mean[k].to(v.dtype) if v.is_floating_point() else v for k, v in first.items()}
