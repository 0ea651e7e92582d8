"""One image of the store as a tensor, augmented in the loader's worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cxr_lightning.data.sampler import Draw
from cxr_lightning.data.store import Pixels

Transform = Callable[[Tensor], Tensor]


class Batch(NamedTuple):
    """What a loader yields; a single item lacks the first dimension."""

    image: Tensor  # uint8 (B, 1, H, W), grey, 0 to 255
    label: Tensor  # int64 (B,)
    row: Tensor  # int64 (B,), the image's row in the datamodule's table


class XrayDataset(Dataset[Batch]):
    """The images of one split."""

    def __init__(
        self,
        pixels: Pixels,
        labels: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        augment: Transform | None = None,
    ) -> None:
        self.pixels, self.augment = pixels, augment
        self.labels, self.rows = torch.from_numpy(labels), torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, draw: Draw | int) -> Batch:
        position, seed = draw if isinstance(draw, tuple) else (draw, 0)
        image = torch.from_numpy(self.pixels[position])[None]
        if self.augment is not None:
            image = augmented(image, self.augment, seed)
        return Batch(image, self.labels[position], self.rows[position])


def augmented(image: Tensor, augment: Transform, seed: int) -> Tensor:
    """`augment(image)` with random numbers from `seed`."""
    with random_numbers(seed):
        return augment(image)


@contextmanager
def random_numbers(seed: int) -> Iterator[None]:
    """Within it, torch's random numbers come from `seed`; the global state is kept."""
    with torch.random.fork_rng(devices=()):
        # torch.manual_seed would also reset a GPU's generator, which drives dropout.
        torch.default_generator.manual_seed(seed)
        yield
