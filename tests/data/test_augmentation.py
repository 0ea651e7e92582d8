"""What Pillow turns and moves is torchvision's; a shift is a share of the side; gamma by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from cxr_lightning.data.augmentation import (
    RandomAffine,
    RandomGamma,
    RandomRotation,
    RandomShift,
)


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


def test_it_is_torchvisions_affine_of_a_pil_image() -> None:
    given = {"degrees": 10, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 5}
    for seed in range(5):
        ours = drawn(RandomAffine(**given), smooth_image(), seed)
        bilinear = v2.InterpolationMode.BILINEAR
        given_too = given | {"interpolation": bilinear}
        theirs = drawn(
            v2.RandomAffine(**given_too), Image.fromarray(smooth_image()[0].numpy()), seed
        )
        assert isinstance(ours, torch.Tensor)
        assert (ours.dtype, ours.shape) == (torch.uint8, (1, 64, 64))
        assert np.array_equal(ours[0].numpy(), np.asarray(theirs))


def test_gamma_moves_the_greys_between_and_keeps_black_and_white() -> None:
    image = torch.tensor([0, 64, 128, 255], dtype=torch.uint8).view(1, 2, 2)
    gammas = []
    for seed in range(200):
        changed = drawn(RandomGamma(2.0), image, seed)
        assert isinstance(changed, torch.Tensor)
        black, dark, middle, white = changed.flatten().tolist()
        assert (black, white) == (0, 255)
        gammas.append(np.log(middle / 255) / np.log(128 / 255))
        assert dark == pytest.approx(255 * (64 / 255) ** gammas[-1], abs=3)
    assert 0.5 <= min(gammas) < 0.55
    assert 1.8 < max(gammas) <= 2.01
    assert np.mean(np.array(gammas) < 1) == pytest.approx(0.5, abs=0.1)  # as often lighter


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RandomGamma(0.9)
    assert torch.equal(RandomGamma(1.0)(smooth_image()), smooth_image())
