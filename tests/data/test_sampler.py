"""What comes next, and how it is augmented, follows from the seed and the epoch alone."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from cxr_lightning.data.datamodule import class_balanced_weights
from cxr_lightning.data.dataset import Batch, XrayDataset, augmented
from cxr_lightning.data.sampler import Draw, EvaluationSampler, TrainSampler
from cxr_lightning.data.store import Pixels, open_store

AUGMENT = v2.Compose(
    [v2.RandomHorizontalFlip(), v2.RandomRotation(10), v2.RandomCrop(16, padding=2)]
)


def epoch(sampler: TrainSampler, number: int) -> list[Draw]:
    sampler.set_epoch(number)
    return list(sampler)


def positions(draws: list[Draw]) -> list[int]:
    return [position for position, _ in draws]


def test_an_epoch_is_a_permutation() -> None:
    draws = epoch(TrainSampler(100, seed=0), 0)
    assert sorted(positions(draws)) == list(range(100))
    assert positions(draws) != list(range(100))
    assert len({seed for _, seed in draws}) == 100  # no two images are augmented alike


def test_the_same_seed_and_epoch_give_the_same_draws() -> None:
    first = epoch(TrainSampler(100, seed=3), 5)
    torch.manual_seed(99)  # the global state has no say
    assert epoch(TrainSampler(100, seed=3), 5) == first


def test_epochs_and_seeds_differ_in_order_and_augmentation() -> None:
    # Also the neighbours: seed 0 in epoch 1 is not seed 1 in epoch 0.
    runs = [epoch(TrainSampler(50, seed), number) for seed in range(4) for number in range(4)]
    assert len({tuple(positions(run)) for run in runs}) == 16
    assert len({seed for run in runs for _, seed in run}) == 16 * 50


@pytest.mark.parametrize("weights", [None, [1.0] * 11])
def test_ranks_share_an_epoch(weights: list[float] | None) -> None:
    alone = epoch(TrainSampler(11, 7, weights), 2)
    ranks = [TrainSampler(11, 7, weights, rank, 2) for rank in (0, 1)]
    draws = [epoch(rank, 2) for rank in ranks]
    # 11 = 2 * 5 + 1: the eleventh draw would leave the other rank waiting for a batch.
    assert [len(rank) for rank in ranks] == [len(drawn) for drawn in draws] == [5, 5]
    assert draws == [alone[0:10:2], alone[1:10:2]]


def test_ranks_have_no_image_in_common_and_together_all() -> None:
    draws = [positions(epoch(TrainSampler(12, 7, None, rank, 3), 0)) for rank in range(3)]
    assert sorted(chain(*draws)) == list(range(12))


@pytest.mark.parametrize(("length", "world_size"), [(11, 2), (2, 3), (12, 4), (5, 1)])
def test_evaluation_takes_every_position_once_in_order(length: int, world_size: int) -> None:
    samplers = [EvaluationSampler(length, rank, world_size) for rank in range(world_size)]
    shares = [positions(list(sampler)) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert sorted(chain(*shares)) == list(range(length))  # none padded, none dropped
    assert all(share == sorted(share) for share in shares)


def test_balanced_weights_draw_every_class_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [9000, 900, 100])
    weights = class_balanced_weights(labels)
    assert weights[0] == pytest.approx(1 / 9000)
    assert weights[-1] == pytest.approx(1 / 100)
    draws = positions(epoch(TrainSampler(10_000, 0, weights), 0))
    # Each class is expected 10000 / 3 = 3333 times, standard deviation
    # sqrt(10000 * 1/3 * 2/3) = 47.1; four of them are 189.
    drawn = np.bincount(labels[draws])
    assert np.abs(drawn - 10_000 / 3).max() < 189
    # Within a class too: 3333 draws miss a given one of 100 images with (99/100)^3333 = 3e-15.
    assert len(set(draws) & set(range(9900, 10_000))) == 100


def test_weighted_draws_follow_the_weights() -> None:
    draws = positions(epoch(TrainSampler(4, 1, [0.0, 0.0, 1.0, 0.0]), 0))
    assert draws == [2, 2, 2, 2]


@pytest.fixture
def pixels(write_images: Callable[..., list[str]], tmp_path: Path) -> Pixels:
    paths = write_images(tmp_path / "images", {"NORMAL": 12})
    return open_store(tmp_path / "cache", tmp_path / "images", paths, 16)[0]


def dataset(pixels: Pixels, augment: v2.Transform | None = AUGMENT) -> XrayDataset:
    n = len(pixels)
    return XrayDataset(pixels, np.arange(n) % 3, np.arange(n) + 100, augment)


def test_an_item_is_the_image_its_label_and_its_row(pixels: Pixels) -> None:
    image, label, row = dataset(pixels, None)[7, 0]
    assert image.shape == (1, 16, 16)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image[0].numpy(), pixels[7])
    assert (label.item(), row.item()) == (7 % 3, 107)
    assert label.dtype == row.dtype == torch.int64


def test_augmentation_is_a_function_of_image_and_seed(pixels: Pixels) -> None:
    data = dataset(pixels)
    assert torch.equal(data[3, 8].image, data[3, 8].image)
    assert len({data[3, seed].image.numpy().tobytes() for seed in range(10)}) == 10


def batches(data: XrayDataset, num_workers: int) -> list[Batch]:
    sampler = TrainSampler(len(data), seed=5)
    loader = DataLoader(data, batch_size=5, sampler=sampler, num_workers=num_workers)
    sampler.set_epoch(1)
    return list(loader)


def test_loader_workers_do_not_change_what_is_seen(pixels: Pixels) -> None:
    alone, shared = batches(dataset(pixels), 0), batches(dataset(pixels), 2)
    assert [batch.row.tolist() for batch in shared] == [batch.row.tolist() for batch in alone]
    for one, two in zip(alone, shared, strict=True):
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.label, two.label)
    stored = np.stack([pixels[row - 100] for row in alone[0].row.tolist()])
    assert (alone[0].image[:, 0].numpy() != stored).any()  # they were augmented


def test_augmentation_leaves_the_global_random_state_alone(
    pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    dataset(pixels)[0, 12]
    assert torch.equal(torch.get_rng_state(), before)
    # torch.manual_seed also reseeds every GPU: dropout would repeat itself after each image.
    assert reseeded == [0]  # this test's own


def test_the_random_state_survives_an_augmentation_that_fails() -> None:
    def fail(image: Tensor) -> Tensor:
        torch.rand(1)
        raise RuntimeError("too small to crop")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="too small"):
        augmented(torch.zeros(1, 4, 4, dtype=torch.uint8), fail, 1)
    assert torch.equal(torch.get_rng_state(), before)
