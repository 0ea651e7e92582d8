"""What the tests of the classifier share: images of noise, loaders, a quiet trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from cxr_lightning.data.dataset import Batch

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA"]
LABELS = torch.tensor([0, 1, 2, 1, 1, 0, 2, 2, 1, 0, 1])
SIZE_PX = 16


def images() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = (len(LABELS), 1, SIZE_PX, SIZE_PX)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def loader(order: Sequence[int] | None = None, size: int = 4) -> "DataLoader[Batch]":
    """Batches of `size`; the last one is smaller. Row and position are the same."""
    rows = torch.tensor(order if order is not None else range(len(LABELS)))
    batches = [Batch(images()[r], LABELS[r], r) for r in rows.split(size)]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def trainer(tmp_path: Path, **changes: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet | changes)
