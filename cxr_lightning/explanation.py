"""Where a network looks: Grad-CAM heatmaps, their share in the middle, a check of their meaning.

Sources: Selvaraju et al., ICCV 2017, for Grad-CAM, as torchcam computes it; Adebayo et al., NeurIPS
2018, for the check: a map that stays when the weights are random does not explain the network.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from pytorch_lightning.utilities.seed import isolate_rng
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchcam.methods import GradCAM

from cxr_lightning.errors import ConfigError
from cxr_lightning.metrics import FEWEST_PATIENTS, Estimate, resample_patients
from cxr_lightning.models.network import Network

FIELD = 0.8  # of each side: the central field; what lies outside it holds letters and edges
BATCH = 16
CHECKED = 64  # images whose maps are compared with those of random weights
DRAWS = 3  # of random weights; with some, no map of a class has any heat
RANDOM = 82920  # the first's seed; a run of the same seed would start with these weights
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def heatmaps(classifier: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM of the given class of each image: float32 (B, S, S), 0 to 1, on the processor.

    images: uint8 grey (B, 1, S, S). classes: integers (B,). A network's last feature maps are
    coarse (8×8 for ResNet-18 at 256 px) and are enlarged. The hottest point is 1; a map is 0
    everywhere where nothing speaks for the class. An ensemble's map is the mean of its networks'
    maps; of several views, the image itself is explained.

    Raises ConfigError where a network has no feature maps: see `map_layer`.
    """
    found = [_enlarged(_maps(one, images, classes), images) for one in networks_of(classifier)]
    return _scaled(torch.stack(found).mean(dim=0))


def networks_of(classifier: nn.Module) -> list[Network]:
    """The networks from pixels to logits that a classifier is made of; ConfigError without any."""
    found = [module for module in classifier.modules() if isinstance(module, Network)]
    if not found:
        raise ConfigError("No heatmaps: the classifier has no network of cxr_lightning.")
    return found


def map_layer(network: Network, image: Tensor) -> str:
    """The name of the layer whose output is explained: the last feature maps (1, C, h, w).

    What adaptive pooling made of them is coarser, and not taken. image: uint8 grey (1, 1, S, S).

    Raises ConfigError where there are none: without a convolution, or where the network goes on
    with tokens, as a vision transformer does, whose convolution only cuts the image into patches.
    """
    seen: list[tuple[str, bool, tuple[int, ...]]] = []
    pooled: list[Tensor] = []  # kept, so that no other tensor gets their identity

    def note(name: str, module: nn.Module, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(module, ADAPTIVE_POOLS):
            pooled.append(output)
        if all(output is not one for one in pooled):
            seen.append((name, isinstance(module, nn.Conv2d), tuple(output.shape)))

    handles = [
        module.register_forward_hook(lambda m, _, output, name=name: note(name, m, output))
        for name, module in network.named_modules()
    ]
    try:
        with _evaluating(network), torch.no_grad():
            network(image.to(_device(network)))
    finally:
        for handle in handles:
            handle.remove()
    first = next((i for i, (_, is_convolution, _) in enumerate(seen) if is_convolution), len(seen))
    found, has_tokens = None, False
    for name, _, shape in seen[first:]:
        if len(shape) == 4 and shape[2] == shape[3]:  # else channels last: of square images, h = w
            if shape[2] > 1:
                found, has_tokens = name, False
        elif len(shape) > 2:
            has_tokens = True
    kind = type(network.backbone).__name__
    if found is None:
        raise ConfigError(f"No heatmaps: {kind} has no feature maps of a convolution.")
    if has_tokens:
        raise ConfigError(
            f"No heatmaps: {kind} works on tokens behind its convolution, as transformers do. "
            "Grad-CAM needs feature maps."
        )
    return found


def share_in_center(heat: Tensor, field: float = FIELD) -> Tensor:
    """How much of each map (B, S, S) lies in its middle, `field` of each side: (B,), 0 to 1.

    nan of a map that is 0 everywhere. A coarse map reaches over the border of the field.
    """
    margin = _margin(heat.shape[-1], field)
    inside = heat[:, margin : heat.shape[1] - margin, margin : heat.shape[2] - margin]
    return inside.sum(dim=(1, 2)) / heat.sum(dim=(1, 2))  # 0 / 0 is nan


def uniform_share(size_px: int, field: float = FIELD) -> float:
    """What `share_in_center` is of a map that is the same everywhere."""
    return (1 - 2 * _margin(size_px, field) / size_px) ** 2


def _margin(size_px: int, field: float) -> int:
    return round((1 - field) / 2 * size_px)


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A film (S, S) with its map (S, S), 0 to 1, in colours: RGB (S, S, 3).

    Where the map is 0 the film is as it was; its hottest point is more than half covered.
    """
    grey = np.repeat(image[..., None] / 255, 3, axis=2)
    cover = 0.6 * heat[..., None]
    mixed = (1 - cover) * grey + cover * colormaps["plasma"](heat)[..., :3]
    return np.asarray(np.rint(255 * mixed), dtype=np.uint8)


def rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's correlation of each map (B, h, w) with its other one: (B,), nan of a flat map."""
    a, b = (
        torch.from_numpy(rankdata(m.flatten(1).double().numpy(), axis=1)) for m in (maps, others)
    )
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    spread = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return (a * b).sum(dim=1) / spread  # 0 / 0 is nan


def randomised(network: Network, seed: int = RANDOM) -> Network:
    """A copy with weights as before any training; those without a start of their own, shuffled."""
    with torch.inference_mode(False), torch.no_grad(), isolate_rng():
        torch.manual_seed(seed)
        fresh = copy.deepcopy(network)
        for module in fresh.backbone.modules():
            start = getattr(module, "reset_parameters", None)
            if callable(start):
                start()
                continue
            for weights in module.parameters(recurse=False):
                order = torch.randperm(weights.numel()).to(weights.device)
                weights.copy_(weights.flatten()[order].view_as(weights))
    return fresh


def correlation_when_randomised(classifier: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Rank correlation of each image's map with that of random weights, (B,); nan of flat maps.

    Near 0: the maps come from what was learnt. Near 1: from the image and the architecture alone.
    It is of the feature maps' own size, since enlarging makes neighbours alike. The mean over three
    draws of weights and, of an ensemble, over its networks.
    """
    found = []
    for one in networks_of(classifier):
        maps = _maps(one, images, classes)
        for seed in range(RANDOM, RANDOM + DRAWS):
            fresh = _maps(randomised(one, seed), images, classes)
            found.append(rank_correlation(maps, fresh))
    return torch.stack(found).nanmean(dim=0)


def attention(
    classifier: nn.Module,
    images: Tensor,
    classes: Tensor,
    groups: Sequence[str] | None = None,
    n_resamples: int = 2000,
) -> dict[str, Any]:
    """Where the network looks, in numbers that go into a JSON file.

    images, classes: as in `heatmaps`. groups: each image's patient, for the interval; None: each is
    its own. Raises ConfigError as `heatmaps`.
    """
    parts = zip(torch.split(images, BATCH), torch.split(classes, BATCH), strict=True)
    shares = torch.cat([share_in_center(heatmaps(classifier, *part)) for part in parts])
    checked = (images[:CHECKED], classes[:CHECKED])
    networks = networks_of(classifier)
    sides = [_maps(one, images[:1], classes[:1]).shape[-1] for one in networks]
    correlations = correlation_when_randomised(classifier, *checked).numpy()
    defined = correlations[~np.isnan(correlations)]
    patients = list(groups) if groups is not None else [str(i) for i in range(len(images))]
    uniform = uniform_share(images.shape[-1])
    return {
        "method": "Grad-CAM of the predicted class",
        "layers": [map_layer(one, images[:1]) for one in networks],
        "map_sides": sides,  # h = w of the feature maps, which limits what they can tell
        "images": len(images),
        "empty_maps": int(shares.isnan().sum()),
        "center": {"field": FIELD, "uniform_share": uniform}
        | asdict(mean_share(shares.double().numpy(), patients, n_resamples)),
        "randomised_weights": {
            "rank_correlation": float(defined.mean()) if len(defined) else None,
            "n": len(defined),
        },
    }


def mean_share(
    shares: npt.NDArray[np.float64], groups: Sequence[str], n_resamples: int = 2000
) -> Estimate:
    """The mean of shares (n,) without nan; its 95% interval: whole patients are drawn again."""
    there = ~np.isnan(shares)
    values, patients = shares[there], np.array(groups)[there].tolist()
    if not len(values):
        return Estimate(None, None, None, 0, "undefined")
    mean, n = float(values.mean()), len(values)
    if len(set(patients)) < FEWEST_PATIENTS:
        reason = f"not estimable: fewer than {FEWEST_PATIENTS} patients"
        return Estimate(mean, None, None, n, reason)
    drawn = np.concatenate(
        [w @ values / w.sum(axis=1) for w in resample_patients(patients, n_resamples, seed=0)]
    )
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Estimate(mean, low, high, n, f"bootstrap of {n_resamples} resamples by patient")


def _maps(network: Network, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM at the size of the feature maps, (B, h, w), from 0; not scaled, on the processor."""
    name, found = map_layer(network, images[:1]), []
    layer = network.get_submodule(name)
    parts = zip(torch.split(images, BATCH), torch.split(classes, BATCH), strict=True)
    with torch.inference_mode(False), _evaluating(network):
        for part, wanted in parts:
            with torch.no_grad(), _gradients_from(layer), GradCAM(network, name) as extract:
                logits = network(part.to(_device(network)))
                (maps,) = extract(wanted.tolist(), logits, normalized=False)
            found.append(maps.float().cpu())
    return torch.cat(found)


@contextmanager
def _gradients_from(layer: nn.Module) -> Iterator[None]:
    """Record gradients from the layer's output on: not below, where they would cost memory."""

    def start(module: nn.Module, given: object, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # the caller's `no_grad` ends it
        return output.detach().requires_grad_().clone()  # a clone, which may be changed in place

    handle = layer.register_forward_hook(start)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _device(network: Network) -> torch.device:
    return network.preprocess.mean.device


def _enlarged(maps: Tensor, images: Tensor) -> Tensor:
    size = list(images.shape[-2:])
    return _scaled(interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0])


def _scaled(maps: Tensor) -> Tensor:
    """So that each map's largest value is 1; a map of zeros stays."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)
