"""Several networks as one: means of probabilities, of views and of weights, by hand."""

import pytest
import torch
from torch import Tensor, nn

from cxr_lightning.errors import ConfigError
from cxr_lightning.models.ensemble import (
    Ensemble,
    Shifted,
    Views,
    mean_of_weights,
    zoomed,
)


class Says(nn.Module):
    """Always the same probabilities."""

    def __init__(self, *p: float) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor([p]).log() + 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.expand(len(image), -1)  # type: ignore[operator, no-any-return]


class LeftBrighter(nn.Module):
    """Logits: the mean of the left half, the mean of the right half."""

    def forward(self, image: Tensor) -> Tensor:
        halves = image.float().chunk(2, dim=3)
        return torch.stack([half.mean(dim=(1, 2, 3)) / 100 for half in halves], dim=1)


IMAGE = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)


def test_an_ensemble_says_the_mean_of_the_probabilities() -> None:
    together = Ensemble([Says(0.9, 0.1), Says(0.2, 0.8), Says(0.4, 0.6)])(IMAGE)
    expected = torch.tensor([[0.5, 0.5]]).expand(2, -1)  # (.9 + .2 + .4) / 3
    torch.testing.assert_close(together.softmax(dim=1), expected)
    assert together.dtype == torch.float32


def test_an_image_and_its_mirror_image_get_the_same() -> None:
    image = IMAGE.clone()
    image[:, :, :, :8] = 200
    plain, views = LeftBrighter(), Views(LeftBrighter(), "flip")
    assert plain(image)[0].tolist() == [2, 0]
    torch.testing.assert_close(views(image), views(image.flip(3)))
    torch.testing.assert_close(views(image).softmax(1), torch.full((2, 2), 0.5))


def test_the_zoom_shows_the_middle_as_large_as_the_whole() -> None:
    image = IMAGE.clone()
    image[:, :, 1:15, 1:15] = 100  # 14 of 16 pixels: 7/8
    assert zoomed(image).unique().tolist() == [100]
    assert zoomed(image).shape == image.shape
    n_calls = []
    network = Says(0.5, 0.5)
    network.register_forward_hook(lambda *_: n_calls.append(1))
    Views(network, "flip_zoom")(image)
    assert len(n_calls) == 4


def test_a_shift_multiplies_the_probabilities() -> None:
    shifted = Shifted(Says(0.5, 0.3, 0.2), [0.0, torch.tensor(2.0).log().item(), 0.0])
    # .5, .6, .2 of 1.3
    torch.testing.assert_close(
        shifted(IMAGE).softmax(dim=1)[0], torch.tensor([0.5, 0.6, 0.2]) / 1.3
    )


def test_weights_are_averaged_and_counters_kept() -> None:
    one = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(7)}
    two = {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(9)}
    mean = mean_of_weights([one, two])
    assert mean["w"].tolist() == [2.0, 4.0]
    assert mean["n"].item() == 7
    with pytest.raises(ConfigError, match="combine=probabilities"):
        mean_of_weights([one, {"w": torch.zeros(3), "n": torch.tensor(1)}])
