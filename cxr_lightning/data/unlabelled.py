"""Image files as they lie in a folder, decoded on the way to the network; for prediction."""

from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from cxr_lightning.data.contrast import check_available
from cxr_lightning.data.dataset import Batch
from cxr_lightning.data.decode import decode_or_reason
from cxr_lightning.data.store import whites_of
from cxr_lightning.machine import usable_cores

UNREADABLE = -1  # the label of an image that could not be decoded; the label of others is 0


class FileDataset(Dataset[Batch]):
    """Images by path. An unreadable one is black, and its label says so.

    `white` is the value of white that the training images of 16 bits were read with; None: there
    were none, and it is found from all of `paths`. `contrast` is as in `decode.decode`.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        size_px: int,
        white: int | None = None,
        contrast: str = "none",
    ) -> None:
        check_available(contrast)
        self.root, self.paths, self.size_px = root, paths, size_px
        white = white or max(whites_of([root / path for path in paths]), default=0) or None
        self._read = partial(decode_or_reason, size_px=size_px, white=white, contrast=contrast)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Batch:
        pixels = self._read(self.root / self.paths[row])
        if isinstance(pixels, str):
            black = torch.zeros(1, self.size_px, self.size_px, dtype=torch.uint8)
            return Batch(black, torch.tensor(UNREADABLE), torch.tensor(row))
        return Batch(torch.tensor(pixels)[None], torch.tensor(0), torch.tensor(row))

    def loader(self, batch_size: int, num_workers: int | str) -> DataLoader[Batch]:
        """Every image once, in order; `auto` decodes on all cores but one."""
        workers = len(usable_cores()) - 1 if num_workers == "auto" else int(num_workers)
        return DataLoader(self, batch_size, num_workers=min(workers, len(self)))

    def errors(self, labels: list[int]) -> dict[str, str]:
        """Path → reason of the images whose label is `UNREADABLE`."""
        paths = [p for p, label in zip(self.paths, labels, strict=True) if label == UNREADABLE]
        return {p: str(self._read(self.root / p)) for p in paths}
