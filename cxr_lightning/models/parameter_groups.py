"""Which parameters decay, and how fast each layer learns."""

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

    A layer is what the first two parts of the name tell apart: `layer1.0`, `blocks.3`, `conv1`; a
    norm belongs to the layer before it.
    """
    names = [name.removeprefix("backbone.") for name, _ in network.named_parameters()]
    layers: list[str] = []
    of_name = []
    for name, parameter in zip(names, network.parameters(), strict=True):
        layer = ".".join(name.split(".")[:-1][:2])
        if layer not in layers and (parameter.ndim > 1 or not layers):
            layers.append(layer)
        of_name.append(layers.index(layer) if layer in layers else len(layers) - 1)
    for parameter, position in zip(network.parameters(), of_name, strict=True):
        yield parameter, len(layers) - 1 - position
