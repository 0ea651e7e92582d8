"""From files to batches: everything once, in order, and only training images changed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from cxr_lightning.config import DataConfig, SplitConfig
from cxr_lightning.data.datamodule import XrayDataModule
from cxr_lightning.data.dataset import Batch
from cxr_lightning.data.decode import decode
from cxr_lightning.data.sampler import TrainSampler
from cxr_lightning.errors import DataError

MakeConfig = Callable[..., DataConfig]
WriteImages = Callable[..., list[str]]

FOLDERS = {
    "train/COVID19": 12,
    "train/NORMAL": 20,
    "train/PNEUMONIA": 30,
    "train/TURBERCULOSIS": 10,
    "val/PNEUMONIA": 10,
    "test/COVID19": 2,
    "test/NORMAL": 4,
    "test/PNEUMONIA": 6,
    "test/TURBERCULOSIS": 3,
}
OFFICIAL = SplitConfig(name="official", val_fraction=0.2)
INVERT = {"invert": {"_target_": "torchvision.transforms.v2.RandomInvert", "p": 1.0}}


@pytest.fixture
def make(
    write_images: WriteImages, kaggle_config: MakeConfig, tmp_path: Path
) -> Callable[..., XrayDataModule]:
    """A prepared datamodule over FOLDERS; keyword arguments are the datamodule's."""
    root = tmp_path / "images"
    write_images(root, FOLDERS)

    def datamodule(
        split: SplitConfig | None = OFFICIAL, data: dict[str, Any] | None = None, **kwargs: Any
    ) -> XrayDataModule:
        config = kaggle_config(root, **{"image_size": 16, "batch_size": 7, **(data or {})})
        prepared = XrayDataModule(config, split, **kwargs)
        prepared.setup()
        return prepared

    return datamodule


def together(batches: Iterable[Batch]) -> Batch:
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def assert_belongs(datamodule: XrayDataModule, seen: Batch, inverted: bool = False) -> None:
    """Every image is that of its row's file, every label that of its row's class folder."""
    names = {"TURBERCULOSIS": "TUBERCULOSIS"}
    for image, label, row in zip(*seen, strict=True):
        path = datamodule.table["path"][int(row)]
        stored = decode(datamodule.index.root / path, 16)
        np.testing.assert_array_equal(image[0].numpy(), 255 - stored if inverted else stored)
        folder = Path(path).parts[1]
        assert datamodule.classes[int(label)] == names.get(folder, folder)


def test_counts_are_what_the_folders_hold(make: Callable[..., XrayDataModule]) -> None:
    counts = make().counts()
    assert list(counts.index) == ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
    assert list(counts.columns) == ["train", "val", "test"]
    assert counts["test"].tolist() == [2, 4, 6, 3]
    assert (counts["train"] + counts["val"]).tolist() == [12, 20, 40, 10]
    # One in five: 2.4, 4, 8 and 2.
    assert np.abs(counts["val"].to_numpy() - [2.4, 4, 8, 2]).max() < 1


def test_every_test_image_comes_once_and_in_order(make: Callable[..., XrayDataModule]) -> None:
    datamodule = make(augment=INVERT)
    batches = list(datamodule.test_dataloader())
    assert [len(batch.row) for batch in batches] == [7, 7, 1]  # 15 images; none dropped
    seen = together(batches)
    is_test = datamodule.table["path"].str.startswith("test/")
    assert seen.row.tolist() == np.flatnonzero(is_test).tolist()
    assert seen.image.shape == (15, 1, 16, 16)
    assert seen.image.dtype == torch.uint8
    assert_belongs(datamodule, seen)


def test_validation_images_come_once_in_order_and_unchanged(
    make: Callable[..., XrayDataModule],
) -> None:
    datamodule = make(augment=INVERT)
    seen = together(datamodule.val_dataloader())
    assert seen.row.tolist() == datamodule.rows("val").tolist()
    assert_belongs(datamodule, seen)


def test_only_training_images_are_augmented(make: Callable[..., XrayDataModule]) -> None:
    datamodule = make(augment=INVERT)
    seen = together(datamodule.train_dataloader())
    assert sorted(seen.row.tolist()) == datamodule.rows("train").tolist()
    assert seen.row.tolist() != datamodule.rows("train").tolist()  # shuffled
    assert_belongs(datamodule, seen, inverted=True)
    assert datamodule.dataset("val").augment is None


def test_training_images_that_are_tested_are_not_augmented(
    make: Callable[..., XrayDataModule],
) -> None:
    datamodule = make(augment=INVERT)
    datamodule.tested_split = "train"
    seen = together(datamodule.test_dataloader())
    assert seen.row.tolist() == datamodule.rows("train").tolist()
    assert_belongs(datamodule, seen)


@pytest.mark.parametrize("augment", [None, {}, {"flip": None}])
def test_without_augmentation_training_images_are_as_stored(
    augment: dict[str, None] | None, make: Callable[..., XrayDataModule]
) -> None:
    datamodule = make(augment=augment)
    assert_belongs(datamodule, together(datamodule.train_dataloader()))


def test_without_a_split_all_images_are_test_images(make: Callable[..., XrayDataModule]) -> None:
    datamodule = make(split=None)
    assert datamodule.counts()["test"].sum() == sum(FOLDERS.values())
    assert len(together(datamodule.test_dataloader()).row) == sum(FOLDERS.values())


def test_without_validation_images_there_is_no_validation_loader(
    make: Callable[..., XrayDataModule],
) -> None:
    datamodule = make(SplitConfig(name="official", val_fraction=0))
    assert datamodule.val_dataloader() == []
    assert datamodule.counts()["train"].tolist() == [12, 20, 40, 10]


def test_balanced_epochs_draw_the_classes_equally(make: Callable[..., XrayDataModule]) -> None:
    # Unbalanced, 40 of 82 are pneumonia. 30 epochs of 82 draws, a quarter each: 615 a class,
    # standard deviation sqrt(2460 * 1/4 * 3/4) = 21.5; four of them are 86.
    datamodule = make(SplitConfig(name="official", val_fraction=0), balanced=True)
    loader = datamodule.train_dataloader()
    drawn = np.zeros(4)
    for epoch in range(30):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        positions = [position for position, _ in loader.sampler]
        drawn += np.bincount(datamodule.dataset("train").labels[positions].numpy(), minlength=4)
    assert drawn.sum() == 30 * 82
    assert np.abs(drawn - 615).max() < 86


def test_the_runs_seed_changes_the_order_but_not_the_split(
    make: Callable[..., XrayDataModule],
) -> None:
    one, two = make(seed=1), make(seed=2)
    assert one.table.equals(two.table)
    orders = [together(datamodule.train_dataloader()).row.tolist() for datamodule in (one, two)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_draws_at_its_first_batch_and_from_no_global_state(
    workers: int, make: Callable[..., XrayDataModule]
) -> None:
    """Lightning makes a resumed run's iterator before it tells the sampler which epoch it is."""
    loader = make(data={"num_workers": workers}).train_dataloader()
    before = torch.get_rng_state()
    batches = iter(loader)
    assert isinstance(loader.sampler, TrainSampler)
    loader.sampler.set_epoch(3)
    rows = together(batches).row.tolist()
    assert rows == together(loader).row.tolist()
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_share_the_loaders(make: Callable[..., XrayDataModule]) -> None:
    train, test = [], []
    for rank in range(2):
        datamodule = make()
        datamodule.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        train.append(together(datamodule.train_dataloader()).row.tolist())
        test.append(together(datamodule.test_dataloader()).row.tolist())
    assert sorted(test[0] + test[1]) == datamodule.rows("test").tolist()  # 15: 8 and 7
    assert len(train[0]) == len(train[1]) == len(datamodule.rows("train")) // 2
    assert not set(train[0]) & set(train[1])


BAD = {
    "train/NORMAL/NORMAL(003).png": (b"", "the file is empty"),
    "train/TURBERCULOSIS/a.dcm": (bytes(128) + b"DICM", "DICOM without a picture"),
    "test/NORMAL/NORMAL(001).png": (b"GIF", "its content is no image format"),
}


def spoil(root: Path) -> None:
    for path, (content, _) in BAD.items():
        (root / path).write_bytes(content)


def test_unreadable_images_are_an_error_that_lists_all(
    make: Callable[..., XrayDataModule], tmp_path: Path
) -> None:
    spoil(tmp_path / "images")
    with pytest.raises(DataError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith(f"3 of 98 images under {tmp_path / 'images'} cannot be read:\n")
    for path, (_, reason) in BAD.items():
        assert f"\n  {path}: {reason}" in message
    assert message.endswith("data.unreadable=skip")


def test_unreadable_images_can_be_left_out_and_are_recorded(
    make: Callable[..., XrayDataModule], tmp_path: Path
) -> None:
    spoil(tmp_path / "images")
    datamodule = make(data={"unreadable": "skip"})
    assert sorted(datamodule.unreadable) == sorted(BAD)
    assert datamodule.unreadable["train/NORMAL/NORMAL(003).png"] == "the file is empty"
    counts = datamodule.counts()
    assert counts["test"].tolist() == [2, 3, 6, 3]
    assert (counts["train"] + counts["val"]).tolist() == [12, 19, 40, 10]
    for loader in (
        datamodule.train_dataloader(),
        datamodule.val_dataloader(),
        datamodule.test_dataloader(),
    ):
        assert_belongs(datamodule, together(loader))


def test_images_keep_their_rows_when_leaking_patients_are_dropped(
    make: Callable[..., XrayDataModule],
) -> None:
    pattern = r"(NORMAL\(00[01]\))"  # two patients with an image each in train and in test
    split = SplitConfig(name="official", val_fraction=0.2, leak="drop")
    datamodule = make(split, data={"group_pattern": pattern})
    assert datamodule.counts().loc["NORMAL"].sum() == 24 - 2
    for loader in (
        datamodule.train_dataloader(),
        datamodule.val_dataloader(),
        datamodule.test_dataloader(),
    ):
        assert_belongs(datamodule, together(loader))


class Recorder(LightningModule):
    """Trains nothing and remembers which rows it was given in which epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.rows: list[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.rows.append([])

    def training_step(self, batch: Batch) -> Tensor:
        self.rows[-1] += batch.row.tolist()
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_draws_each_epoch_anew(
    make: Callable[..., XrayDataModule], tmp_path: Path
) -> None:
    # Lightning calls set_epoch on a sampler that has it; the order hangs on that.
    datamodule = make(seed=4)
    module = Recorder()
    trainer = Trainer(
        max_epochs=2,
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=datamodule)
    sampler = TrainSampler(len(datamodule.rows("train")), seed=4)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        expected = datamodule.rows("train")[[position for position, _ in sampler]]
        assert module.rows[epoch] == expected.tolist()
    assert module.rows[0] != module.rows[1]
