"""Which parameters decay, and how fast each layer learns."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from cxr_lightning.config import OptimConfig


def parameter_groups(network: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """All parameters, in as few groups as their weight decay and learning rate allow.

    Norms and biases have one dimension; without `decay_norms_and_biases` they do not decay (He et
    al., CVPR 2019, "Bag of tricks", section 3.1). Each layer learns at `layer_decay` times the rate
    of the one after it (Howard & Ruder, ACL 2018, section 3.2).
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter, layers_after in _by_layer(network):
        decays = optim.decay_norms_and_biases or parameter.ndim > 1
        factor = optim.layer_decay**layers_after
        groups.setdefault((decays, factor), []).append(parameter)
    return [
        {"params": parameters}
        | ({} if factor == 1 else {"lr": optim.lr * factor})
        | ({} if decays else {"weight_decay": 0.0})
        for (decays, factor), parameters in sorted(
            groups.items(), key=lambda item: item[0], reverse=True
        )
    ]


def _by_layer(network: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Each parameter, and how many layers come after its own.

    A layer is what the name says up to its first part with a number (`layer1`, `blocks.3`,
    `encoder.layers.encoder_layer_0`), or else its first part (`fc`). A norm belongs to the layer
    before it, and what belongs to no layer (a class token) to the first.
    """
    layers: list[str] = []
    of_parameter: list[int] = []
    for name, parameter in network.named_parameters():
        parts = name.removeprefix("backbone.").split(".")[:-1]
        numbered = [i for i, part in enumerate(parts) if re.search(r"\d", part)]
        layer = ".".join(parts[: (numbered[0] if numbered else 0) + 1])
        if layer not in layers and parts and (parameter.ndim > 1 or not layers):
            layers.append(layer)
        of_parameter.append(layers.index(layer) if layer in layers else max(len(layers) - 1, 0))
    for parameter, position in zip(network.parameters(), of_parameter, strict=True):
        yield parameter, len(layers) - 1 - position
