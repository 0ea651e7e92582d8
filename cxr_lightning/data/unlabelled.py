"""Image files as they lie in a folder, decoded on the way to the network; for prediction."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from cxr_lightning.data.dataset import Batch
from cxr_lightning.data.decode import UnreadableImageError, decode
from cxr_lightning.data.white import common_white
from cxr_lightning.machine import usable_cores

UNREADABLE = -1
"""The label of an image that could not be decoded; the label of others is 0."""


class FileDataset(Dataset[Batch]):
    """Images by path. An unreadable one is black, and its label says so.

    `white` is the value of white that the training images of 16 bits were read with; None: there
    were none, and it is found from all of `paths`.
    """

    def __init__(self, root: Path, paths: list[str], size_px: int, white: int | None = None):
        self.root, self.paths, self.size_px = root, paths, size_px
        self.white = white or common_white(root / path for path in paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Batch:
        try:
            pixels = torch.tensor(decode(self.root / self.paths[row], self.size_px, self.white))
            label = 0
        except UnreadableImageError:
            pixels = torch.zeros(self.size_px, self.size_px, dtype=torch.uint8)
            label = UNREADABLE
        return Batch(pixels[None], torch.tensor(label), torch.tensor(row))

    def loader(self, batch_size: int, num_workers: int | str) -> DataLoader[Batch]:
        """Every image once, in order; `auto` decodes on all cores but one."""
        workers = len(usable_cores()) - 1 if num_workers == "auto" else int(num_workers)
        return DataLoader(self, batch_size, num_workers=min(workers, len(self)))

    def errors(self, labels: list[int]) -> dict[str, str]:
        """Path → reason of the images whose label is `UNREADABLE`."""
        reasons = {}
        for path in (p for p, label in zip(self.paths, labels, strict=True) if label == UNREADABLE):
            try:
                decode(self.root / path, self.size_px, self.white)
            except UnreadableImageError as error:
                reasons[path] = str(error)
        return reasons
