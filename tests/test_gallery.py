"""The page of films with their heatmaps."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_classifiers import CLASSES, SIZE_PX, images
from torch import Tensor

from cxr_lightning.errors import ConfigError
from cxr_lightning.explanation import heatmaps, overlay, share_in_center
from cxr_lightning.gallery import Gallery
from cxr_lightning.models.classifier import Classifier
from cxr_lightning.models.network import Network

Build = Callable[..., Classifier]


def certain(*most: float) -> Tensor:
    """Probabilities (n, 3) whose largest one, of class 1, is as given."""
    return torch.tensor([[(1 - p) * 0.6, p, (1 - p) * 0.4] for p in most])


def films_on(page: str) -> list[str]:
    return re.findall(r'<span class="note">(film.*?)</span>', page)


def test_the_least_certain_films_come_first_and_few_are_kept(
    classifier: Build, tmp_path: Path
) -> None:
    gallery = Gallery(classifier(), limit=3)
    gallery.add(["film a", "film b"], images()[:2], certain(0.9, 0.5))
    gallery.add(["film c", "film d"], images()[2:4], certain(0.7, 0.6))
    gallery.add(["film e", "film f"], images()[4:6], certain(0.95, 0.4))
    page = gallery.write(tmp_path / "explain.html").read_text(encoding="utf-8")
    assert films_on(page) == ["film f", "film b", "film d"]
    assert "The 3 films of 6 that the network is least certain of" in page
    assert f"<b>{CLASSES[1]} 40%</b>, {CLASSES[0]} 36%, {CLASSES[2]} 24%" in page
    assert len(gallery._films) == 3
    # No film keeps the batch that it came in.
    sizes = [film.image.untyped_storage().nbytes() for film in gallery._films]
    assert sizes == [SIZE_PX**2] * 3


def test_the_page_shows_the_film_its_overlay_and_the_share(
    classifier: Build, tmp_path: Path
) -> None:
    net, gallery = classifier(seed=3), Gallery(classifier(seed=3))
    ramp = torch.arange(0, 256, 16).expand(1, 1, SIZE_PX, SIZE_PX).to(torch.uint8)  # of 16 px
    gallery.add(["film <a>"], ramp, certain(0.8))
    gallery.add(["film b", "film c", "film d"], images()[:3], certain(0.9, 0.9, 0.9))
    page = gallery.write(tmp_path / "explain.html").read_text(encoding="utf-8")
    assert films_on(page) == ["film &lt;a&gt;", "film b", "film c", "film d"]
    assert "http" not in page  # it needs no other file
    film, drawn = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB"), float)
        for one in re.findall(r'src="data:image/webp;base64,([^"]+)"', page)[:2]
    )
    heat = heatmaps(net, ramp, torch.tensor([1]))
    expected = overlay(ramp[0, 0].numpy(), heat[0].numpy())
    assert heat.max() == 1
    assert np.abs(film - ramp[0, 0].numpy()[..., None]).mean() < 6  # WEBP changes grey levels
    assert np.abs(drawn - expected).mean() < 12
    assert np.abs(drawn - film).mean() > 24
    assert f"{100 * share_in_center(heat).item():.0f}% of the heat in the central field" in page
    assert re.search(r"rank correlation .* is <b>-?\d\.\d\d</b>, the mean of \d films?", page)


def test_a_page_without_films(classifier: Build, tmp_path: Path) -> None:
    page = Gallery(classifier()).write(tmp_path / "explain.html").read_text(encoding="utf-8")
    assert "There was no film that could be read." in page


def test_a_network_without_feature_maps_writes_no_page(classifier: Build, tmp_path: Path) -> None:
    net = classifier()
    node = {"_target_": "small_networks.Perceptron"}
    net.use(Network(node=node, num_classes=3, image_size=SIZE_PX, channels=1))
    gallery = Gallery(net)
    gallery.add(["film a"], images()[:1], certain(0.8))
    with pytest.raises(ConfigError, match="No heatmaps: Perceptron"):
        gallery.write(tmp_path / "explain.html")
    assert not (tmp_path / "explain.html").exists()
