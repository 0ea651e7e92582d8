"""Index, store and splits as Lightning's loaders."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from cxr_lightning.config import DataConfig, SplitConfig, Target
from cxr_lightning.data import splits
from cxr_lightning.data.batches import (
    Mix,
    build_mixes,
    is_of_batches,
    mixed,
    resized,
    share_done,
    size_at,
)
from cxr_lightning.data.contrast import check_available
from cxr_lightning.data.dataset import Batch, Transform, XrayDataset, augmented, random_numbers
from cxr_lightning.data.identity import images_key
from cxr_lightning.data.index import Index
from cxr_lightning.data.recorded import Changes, as_recorded, changes, restricted
from cxr_lightning.data.sampler import EvaluationSampler, TrainSampler
from cxr_lightning.data.sources import load_index
from cxr_lightning.data.store import Pixels, open_store
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.instantiate import build
from cxr_lightning.machine import usable_cores

DRAWS_PER_TRANSFORM = 8  # some act on a part of the images only


class LateLoader(DataLoader[Batch]):
    """Draws at the first batch, not when the iterator is made; keeps off torch's global state.

    Lightning 2.6 makes the iterator of a resumed run's first epoch before it tells the sampler
    which epoch that is; workers would fetch the images of epoch 0 at once. And each new iterator
    draws a seed for its workers: how often depends on their number and on where a run was resumed.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"generator": torch.Generator(), **more})

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        yield from super().__iter__()


class XrayDataModule(LightningDataModule):
    """Loaders over the images of one configuration.

    As Lightning has it, `prepare_data` decodes, once in a file's life, and `setup` splits. Both
    read the images' table, at most once in a process.

    Attributes:
        table: the readable images with their final `split`; `Batch.row` counts its rows.
        index, unreadable: what was found, and path → reason for what could not be decoded.
        changes: what differs from the recorded split; None without one.
    """

    def __init__(
        self,
        data: DataConfig,
        split: SplitConfig | None,
        augment: dict[str, Target | None] | None = None,
        balanced: bool = False,
        seed: int = 0,
        *,
        recorded: "pd.Series[str] | None" = None,
    ) -> None:
        """Without `split`, all images are test images. `balanced` draws all classes equally.

        recorded: path → split of a run's images, which keep it; those added since are left out.
        """
        super().__init__()
        self.recorded, self.changes = recorded, None if recorded is None else Changes([], recorded)
        self.data, self.split, self.balanced, self.seed = data, split, balanced, seed
        check_available(data.contrast)
        self.of_batches = {
            k: node for k, node in (augment or {}).items() if node and is_of_batches(node)
        }
        of_images = {k: node for k, node in (augment or {}).items() if k not in self.of_batches}
        transforms = {name: build(node) for name, node in of_images.items() if node}
        check_transforms(transforms, data.image_size)
        steps = list(transforms.values())
        self.augment: Transform | None = v2.Compose(steps) if steps else None
        self.tested_split = "test"
        self.table = pd.DataFrame()
        self._found: tuple[pd.DataFrame, Pixels] | None = None

    @cached_property
    def images_key(self) -> str:
        """What tells these images from others, as they were when first asked for."""
        return images_key(self.index)

    def prepare_data(self) -> None:
        """Find the images and decode those that no earlier run has decoded.

        Raises:
            ConfigError, DataError: see `sources` and `index`; unreadable images.
        """
        if self._found is not None:
            return
        self.index: Index = load_index(self.data)
        if self.recorded is not None:
            self.changes = changes(self.index, self.recorded)
            if self.split is not None:
                self.index = restricted(self.index, self.recorded)
            self.index.notes.extend(self.changes.sentences(all_count=self.split is None))
        table = self.index.table
        pixels, self.unreadable = open_store(
            self.data.cache_dir,
            self.index.root,
            list(table["path"]),
            self.data.image_size,
            self.data.white,
            contrast=self.data.contrast,
        )
        if self.unreadable and self.data.unreadable == "error":
            reasons = "\n".join(f"  {path}: {reason}" for path, reason in self.unreadable.items())
            raise DataError(
                f"{len(self.unreadable)} of {len(table)} images under {self.index.root} cannot be "
                f"read:\n{reasons}\nFix or remove them, or leave them out: data.unreadable=skip"
            )
        readable = table[~table["path"].isin(list(self.unreadable))].reset_index(drop=True)
        self._found = readable, pixels

    def setup(self, stage: str | None = None) -> None:
        """Split the images; `stage` is Lightning's and makes no difference.

        Raises:
            ConfigError, DataError: see `prepare_data` and `splits`.
        """
        if not self.table.empty:
            return
        self.prepare_data()  # other processes of the node wait for the one that decodes
        assert self._found is not None
        readable, pixels = self._found
        if self.split is None:
            self.table = readable.assign(split="test")
        elif self.recorded is not None:
            self.table = as_recorded(readable, self.recorded)
        else:
            self.table = splits.assign_splits(readable, self.split, self.index.classes)
        position = pd.Series(np.arange(len(readable)), index=readable["path"])
        self.pixels: Pixels = pixels.take(position.loc[self.table["path"]].to_numpy(dtype=np.int64))

    def test_all_without_test_folder(self) -> None:
        """Before `setup`: take every image as a test image if no folder says which ones are."""
        if not (self.index.table["split"] == "test").any():
            self.split = None
            self.index.notes.append("There is no test folder: every image is tested.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; their position is the label."""
        return self.index.classes

    def counts(self) -> pd.DataFrame:
        """Images per class (rows) and split (columns)."""
        return splits.counts(self.table, self.classes)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Rows of `table` that belong to `split`."""
        return np.flatnonzero(self.table["split"] == split).astype(np.int64)

    def dataset(self, split: str) -> XrayDataset:
        """The images of `split`; those of "train" augmented."""
        rows = self.rows(split)
        labels = self.table["label"].to_numpy(dtype=np.int64)[rows]
        augment = self.augment if split == "train" else None
        return XrayDataset(self.pixels.take(rows), labels, rows, augment)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled or balanced, augmented."""
        dataset = self.dataset("train")
        rank, world_size = self._rank()
        weights = class_balanced_weights(dataset.labels.numpy()) if self.balanced else None
        sampler = TrainSampler(len(dataset), self.seed, weights, rank, world_size)
        # Batch norm cannot learn from a last batch of one image: it is left out of the epoch.
        is_one_left = len(sampler) % self.data.batch_size == 1 < len(sampler)
        return self._loader(dataset, sampler, drop_last=is_one_left)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Training batches, on the device: as small as the epoch wants them, and mixed."""
        if self.trainer is None or not self.trainer.training:
            return batch
        if self.data.train_sizes is not None:
            batch = resized(batch, size_at(self.data.train_sizes, share_done(self.trainer)))
        if not self.mixes:
            return batch
        # Not from the global state, which a resumed run does not have at this moment.
        numbers = [self.seed, self.trainer.fit_loop.total_batch_idx + 1, self.trainer.global_rank]
        with random_numbers(int(np.random.SeedSequence(numbers).generate_state(1)[0])):
            return mixed(batch, self.mixes)

    @cached_property
    def mixes(self) -> list[Mix]:
        """The transforms of training batches."""
        return build_mixes(self.of_batches, len(self.classes))

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Every validation image once, in order; an empty list where there is none."""
        return self._evaluation("val") if len(self.rows("val")) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Every image of `tested_split` once, in order."""
        return self._evaluation(self.tested_split)

    def _evaluation(self, split: str) -> DataLoader[Batch]:
        dataset = self.dataset(split)
        dataset.augment = None  # also where training images are tested
        return self._loader(dataset, EvaluationSampler(len(dataset), *self._rank()))

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(
        self,
        dataset: XrayDataset,
        sampler: TrainSampler | EvaluationSampler,
        drop_last: bool = False,
    ) -> DataLoader[Batch]:
        workers = loader_workers(self.data.num_workers)
        return LateLoader(
            dataset,
            batch_size=self.data.batch_size,
            sampler=sampler,
            num_workers=workers,
            drop_last=drop_last,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
        )


def check_transforms(transforms: dict[str, Transform], size_px: int) -> None:
    """Send an image through each transform, a few times, and look at what comes out.

    Raises:
        ConfigError: one fails, or does not return what the next one and the network take.
    """
    shape = (1, size_px, size_px)
    ramp = torch.arange(size_px**2, dtype=torch.int64).remainder(251).to(torch.uint8).view(shape)
    for seed in range(DRAWS_PER_TRANSFORM):
        image: Any = ramp
        for name, transform in transforms.items():
            try:
                image = augmented(image, transform, seed)
            except Exception as error:  # whatever a transform that somebody wrote may raise
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(
                    f"augment.{name} fails on a grey image {shape}: {reason}"
                ) from error
            got = type(image).__name__
            if isinstance(image, Tensor):
                got = f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
            if got != f"uint8 {shape}":
                raise ConfigError(
                    f"augment.{name} returns {got}; it must return uint8 {shape}, grey from 0 to "
                    "255. The network itself scales to 0–1, normalises and expands channels: leave "
                    "such transforms out."
                )


def class_balanced_weights(labels: npt.NDArray[np.int64]) -> list[float]:
    """One weight per image, 1 / (images of its class): every class is drawn equally often.

    Class-aware sampling: Shen et al., ECCV 2016, section 3.2.
    """
    per_class = np.bincount(labels)
    return [float(weight) for weight in 1.0 / per_class[labels]]


def loader_workers(asked: int | str) -> int:
    """`auto`: none on a CPU, whose cores the network needs; else the cores of a GPU, 8 at most."""
    if asked != "auto":
        return int(asked)
    n_gpus = torch.cuda.device_count()
    return min(8, len(usable_cores()) // n_gpus) if n_gpus else 0
