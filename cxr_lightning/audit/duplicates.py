"""Images that are there twice: byte by byte, or resized, re-compressed, or brightened copies.

Candidates have perceptual hashes (ImageHash's `phash`, 64 bits) that differ in few bits; a pair is
a near duplicate if the pixels agree as well: their correlation at 32×32 px is at least `SAME`. On
5,596 real films every pair with at most 14 bits had a correlation below .98 or above .995, and
those above were the same film. Pairs are looked at in blocks, so memory grows with the number of
images and not with its square.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cxr_lightning.data.store import Pixels
from cxr_lightning.machine import usable_cores
from cxr_lightning.metrics import Floats, Ints

BITS = 10  # of 64 that may differ: more lets in films that are only alike
SAME = 0.98  # correlation: copies of one film lie above, other films of one child below
SIDE_PX, BLOCK, AT_ONCE = 32, 512, 50_000


@dataclass(frozen=True)
class Found:
    """Sets of images that show the same film. sets: rows of the table, ascending, two or more each.

    kind: of each set, "exact" where all its files have the same bytes, else "near".
    """

    sets: list[Ints]
    kinds: list[str]


def find_duplicates(root: Path, table: pd.DataFrame, pixels: Pixels) -> Found:
    """The duplicates among the images of `table` (path), whose pixels are given in its order."""
    same_bytes = _same_bytes(root, list(table["path"]))
    pairs = [(a, b) for group in same_bytes for a, b in pairwise(group)]
    pairs += near_pairs(pixels)
    if not pairs:
        return Found([], [])
    rows, columns = np.array(pairs).T
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(table), len(table)))
    of_image = connected_components(links, directed=False)[1]
    members = pd.Series(np.arange(len(table))).groupby(of_image).agg(list)
    sets = [np.array(rows) for rows in members if len(rows) > 1]
    exact = {frozenset(group) for group in same_bytes}
    return Found(sets, ["exact" if frozenset(s.tolist()) in exact else "near" for s in sets])


def _same_bytes(root: Path, paths: list[str]) -> list[list[int]]:
    """Groups of files with the same content; only files of equal size are read."""
    of_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        of_size[(root / path).stat().st_size].append(row)
    rows = [row for same in of_size.values() if len(same) > 1 for row in same]
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        digests = list(pool.map(lambda row: _digest(root / paths[row]), rows))
    of_digest: dict[str, list[int]] = defaultdict(list)
    for row, digest in zip(rows, digests, strict=True):
        of_digest[digest].append(row)
    return [group for group in of_digest.values() if len(group) > 1]


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def near_pairs(pixels: Pixels) -> list[tuple[int, int]]:
    """Pairs of images that show the same film, as far as hash and correlation tell."""
    hashes = _hashes(pixels)
    vectors = _standardised(pixels)
    found: list[tuple[int, int]] = []
    for first, block in _blocks(hashes):
        bits = np.bitwise_count(block[:, None] ^ hashes[None, first:])
        a, b = np.nonzero(bits <= BITS)
        a, b = a[b > a] + first, b[b > a] + first
        # One link an image is enough to find its set; a thousand black images need no more.
        linked: dict[int, int] = {}
        for start in range(0, len(a), AT_ONCE):
            x, y = a[start : start + AT_ONCE], b[start : start + AT_ONCE]
            alike = np.einsum("ij,ij->i", vectors[x], vectors[y]) >= SAME
            linked |= dict(zip(y[alike].tolist(), x[alike].tolist(), strict=True))
        found += [(one, other) for other, one in linked.items()]
    return found


def _blocks(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    starts = range(0, len(hashes), BLOCK)
    console = Console(stderr=True)
    for start in track(starts, "Comparing images", console=console, transient=True):
        yield start, hashes[start : start + BLOCK]


def _hashes(pixels: Pixels) -> npt.NDArray[np.uint64]:
    """Each image's perceptual hash as one number, (n,)."""
    numbers = [
        int(str(imagehash.phash(Image.fromarray(pixels[i]))), 16) for i in range(len(pixels))
    ]
    return np.array(numbers, dtype=np.uint64)


def _standardised(pixels: Pixels) -> Floats:
    """Each image at 32×32 px with mean 0 and length 1, (n, 1024): products are correlations."""
    small = [
        np.asarray(
            Image.fromarray(pixels[i]).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX),
            dtype=np.float32,
        ).ravel()
        for i in range(len(pixels))
    ]
    vectors = np.stack(small)
    vectors -= vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6))
