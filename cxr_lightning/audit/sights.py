"""What each rung of the null ladder sees of a film: never the film as a reader sees it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning.utilities.seed import isolate_rng

from cxr_lightning.callbacks.probe import features
from cxr_lightning.data.facts import file_facts
from cxr_lightning.data.store import Pixels, open_store
from cxr_lightning.models.network import Network

Floats = npt.NDArray[np.float32]

SIZE_PX = 128  # at which films are looked at, whatever the size a run reads
THUMBNAIL_PX, BINS = 16, 32
EDGE = 12  # px of a side of 128: what lies outside the central 80%
CHUNK = 1000  # films, between two looks at the clock
UNTRAINED = {"_target_": "cxr_lightning.models.backbones.NarrowResNet18", "width": 32}


def facts(cache_dir: Path, root: Path, paths: list[str]) -> Floats:
    """What the files say: size, aspect, bytes per pixel (as logarithms), bits; mode and format."""
    table = file_facts(cache_dir, root, paths)
    area = (table["width"] * table["height"]).clip(lower=1)
    numbers = {
        "width": np.log(table["width"].clip(lower=1)),
        "height": np.log(table["height"].clip(lower=1)),
        "aspect": np.log(table["width"].clip(lower=1) / table["height"].clip(lower=1)),
        "bytes_per_px": np.log(table["bytes"].clip(lower=1) / area),
        "bits": table["bits"],
    }
    names = pd.get_dummies(table[["mode", "format"]])
    return np.column_stack([*numbers.values(), names]).astype(np.float32)


def pixels_of(
    cache_dir: Path, root: Path, paths: list[str], white: int | None, watch: Callable[[], None]
) -> Pixels:
    """The films at 128 px, decoded once; `watch` is called now and then, and may raise."""
    for start in range(0, len(paths), CHUNK):
        open_store(cache_dir, root, paths[start : start + CHUNK], SIZE_PX, white)
        watch()
    return open_store(cache_dir, root, paths, SIZE_PX, white)[0]


def histogram(pixels: Pixels) -> Floats:
    """The share of each of 32 bands of grey, as square roots, (n, 32)."""
    bands = [np.bincount(pixels[i].ravel() >> 3, minlength=BINS) for i in range(len(pixels))]
    return np.sqrt(np.stack(bands) / SIZE_PX**2).astype(np.float32)


def thumbnail(pixels: Pixels) -> Floats:
    """The film at 16×16 px, (n, 256), 0 to 1."""
    side, size = SIZE_PX // THUMBNAIL_PX, THUMBNAIL_PX
    blocks = (pixels[i].reshape(size, side, size, side) for i in range(len(pixels)))
    means = np.stack([b.mean(axis=(1, 3)).ravel() for b in blocks])
    return np.asarray(means / 255, dtype=np.float32)


def border(pixels: Pixels) -> Floats:
    """Mean, spread, darkest and brightest grey of 32 stretches of the border, (n, 128), 0 to 1.

    The border is 12 px wide, so the central 80% in each direction is not seen. A letter or a tag
    in a corner changes the spread and the brightest grey of one stretch.
    """
    found = []
    for i in range(len(pixels)):
        film = pixels[i].astype(np.float32) / 255
        sides = (film[:EDGE], film[-EDGE:], film[:, :EDGE].T, film[:, -EDGE:].T)
        blocks = np.stack([side.reshape(EDGE, 8, -1) for side in sides])  # (4, 12, 8, 16)
        statistics = [f(blocks, axis=(1, 3)) for f in (np.mean, np.std, np.min, np.max)]
        found.append(np.concatenate(statistics).ravel())
    return np.stack(found).astype(np.float32)


def untrained(pixels: Pixels, cache_dir: Path, watch: Callable[[], None]) -> Floats:
    """What the last layer of an untrained ResNet-18 of half width reads, (n, 256)."""
    with isolate_rng():
        torch.manual_seed(0)
        network = Network(
            node=UNTRAINED, num_classes=2, image_size=SIZE_PX, channels=1, mean=[0.5], std=[0.25]
        ).eval()
    found = []
    for start in range(0, len(pixels), CHUNK):
        some = pixels.take(np.arange(start, min(start + CHUNK, len(pixels))))
        found.append(features(network, some, cache_dir, 64, "32-true"))
        watch()
    return np.concatenate(found)
