"""Rotation by way of Pillow is torchvision's; a shift is a share of the side."""

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from cxr_lightning.data.augmentation import RandomRotation, RandomShift


def smooth_image(size: int = 64) -> torch.Tensor:
    y, x = np.mgrid[0:size, 0:size]
    grey = 128 + 100 * np.sin(x / 9) * np.cos(y / 7)
    return torch.from_numpy(grey.astype(np.uint8))[None]


def drawn(transform: torch.nn.Module, image: object, seed: int) -> object:
    torch.manual_seed(seed)
    return transform(image)


def test_it_is_torchvisions_rotation_of_a_pil_image() -> None:
    image = smooth_image()
    before = image.clone()
    for seed in range(5):
        ours = drawn(RandomRotation(10), image, seed)
        theirs = drawn(v2.RandomRotation(10), Image.fromarray(image[0].numpy()), seed)
        assert isinstance(ours, torch.Tensor)
        assert (ours.dtype, ours.shape) == (torch.uint8, (1, 64, 64))
        assert np.array_equal(ours[0].numpy(), np.asarray(theirs))
    assert torch.equal(image, before)


def test_against_the_rotation_of_tensors_few_pixels_differ() -> None:
    for seed in range(1, 6):  # seed 0 draws an angle of next to nothing
        ours = drawn(RandomRotation(10), smooth_image(256), seed)
        theirs = drawn(v2.RandomRotation(10), smooth_image(256), seed)
        assert isinstance(ours, torch.Tensor)
        assert isinstance(theirs, torch.Tensor)
        assert (ours != theirs).float().mean() < 0.005
        assert (ours != smooth_image(256)).float().mean() > 0.3  # it has turned


def test_its_arguments_are_torchvisions() -> None:
    rotated = drawn(RandomRotation((90, 90), fill=7), smooth_image(), 0)
    assert isinstance(rotated, torch.Tensor)
    assert torch.equal(rotated, torch.rot90(smooth_image(), 1, (1, 2)))
    corner = drawn(RandomRotation((45, 45), fill=7), smooth_image(), 0)
    assert isinstance(corner, torch.Tensor)
    assert corner[0, 0, 0] == 7


def test_a_shift_moves_at_most_its_share_of_the_side_and_fills_with_black() -> None:
    image = torch.full((1, 64, 64), 200, dtype=torch.uint8)
    black = set()
    for seed in range(50):
        moved = drawn(RandomShift(64, 0.0625), image, seed)
        assert isinstance(moved, torch.Tensor) and moved.shape == image.shape
        black.add(int((moved[0, :, 32] == 0).sum()))
    assert black == {0, 1, 2, 3, 4}  # 0.0625 * 64 px = 4 px
