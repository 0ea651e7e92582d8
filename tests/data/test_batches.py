"""Batches of training images: how large in which epoch, mixed in which shares."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import Trainer

from cxr_lightning.data.batches import (
    build_mixes,
    is_of_batches,
    mixed,
    resized,
    share_done,
    size_at,
)
from cxr_lightning.data.dataset import Batch

MIXUP = {"_target_": "torchvision.transforms.v2.MixUp", "alpha": 0.4}
CUTMIX = {"_target_": "torchvision.transforms.v2.CutMix", "alpha": 1.0}


def batch(size: int = 8) -> Batch:
    image = torch.stack([torch.full((1, size, size), grey) for grey in (0, 100, 200)])
    return Batch(image.to(torch.uint8), torch.tensor([0, 1, 2]), torch.arange(3))


def test_all_sizes_get_equal_parts_of_the_training() -> None:
    sizes = [size_at([96, 128, 224], epoch / 7) for epoch in range(7)]
    assert sizes == [96, 96, 96, 128, 128, 224, 224]  # epoch · 3 // 7
    assert [size_at([96, 128, 160], epoch / 24) for epoch in (7, 8, 15, 16)] == [96, 128, 128, 160]
    assert size_at([96, 128], 1.5) == 128  # trained on, past the end


def test_the_training_ends_by_epochs_or_by_steps() -> None:
    def trainer(**values: int) -> Trainer:
        return cast("Trainer", SimpleNamespace(**values))

    by_epochs = trainer(current_epoch=3, max_epochs=12, global_step=999, max_steps=-1)
    by_steps = trainer(current_epoch=3, max_epochs=100, global_step=18, max_steps=24)
    assert share_done(by_epochs) == 0.25
    assert share_done(by_steps) == 0.75


def test_smaller_images_are_means_of_the_larger() -> None:
    given = batch()
    small = resized(given, 4)
    assert (small.image.dtype, small.image.shape) == (torch.uint8, (3, 1, 4, 4))
    assert small.image[:, 0, 0, 0].tolist() == [0, 100, 200]
    assert resized(given, 8) is given


@pytest.mark.parametrize("node", [MIXUP, CUTMIX])
def test_pixels_and_labels_are_mixed_in_the_same_shares(node: dict[str, Any]) -> None:
    (mix,) = build_mixes({"mix": node}, num_classes=3)
    for seed in range(5):
        torch.manual_seed(seed)
        result = mixed(batch(), [mix])
        assert result.label.shape == (3, 3)
        assert torch.allclose(result.label.sum(dim=1), torch.ones(3))
        # Of images of one grey, the mean grey tells the shares: Σ share of class · its grey.
        expected = result.label @ torch.tensor([0.0, 100.0, 200.0])
        torch.testing.assert_close(result.image.mean(dim=(1, 2, 3)), expected)
        assert result.row.tolist() == [0, 1, 2]


def test_without_a_mix_a_batch_stays_as_it_is() -> None:
    given = batch()
    assert mixed(given, []).image is given.image
    assert mixed(given, []).label is given.label


def test_transforms_of_batches_are_told_by_their_num_classes() -> None:
    assert is_of_batches(MIXUP)
    assert is_of_batches(CUTMIX)
    assert not is_of_batches({"_target_": "torchvision.transforms.v2.RandomErasing"})
