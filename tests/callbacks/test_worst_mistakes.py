"""Which mistakes are drawn, in which order, and where the network looked."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from cxr_lightning.callbacks.figures import WorstMistakesFigure
from cxr_lightning.explanation import heatmaps, overlay, share_in_center
from cxr_lightning.models.network import Network
from cxr_lightning.models.predictions import Predictions

CLASSES = ["COVID19", "NORMAL", "TUBERCULOSIS"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, before they are closed."""
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    monkeypatch.setattr(plt, "close", lambda _: None)
    return saved


def pixels_of(url: str) -> NDArray[np.uint8]:
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def end_of_test(
    folder: Path,
    probabilities: list[list[float]],
    labels: list[int],
    network: nn.Module | None = None,
    pixels: NDArray[np.uint8] | None = None,
) -> Any:
    """The trainer and the module at the end of a test of these images, row i all of grey i."""
    n = len(labels)
    if pixels is None:
        pixels = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    data = SimpleNamespace(name="kaggle")
    names = {"path": [f"{i}.png" for i in range(n)], "group": [f"patient {i}" for i in range(n)]}
    table = pd.DataFrame(names)
    datamodule = SimpleNamespace(pixels=pixels, data=data, table=table)
    trainer = SimpleNamespace(
        datamodule=datamodule,
        default_root_dir=str(folder),
        loggers=[],
        current_epoch=3,
        lightning_module=network or nn.Identity(),  # without a network there are no heatmaps
    )
    predictions = Predictions(np.arange(n), np.array(labels), np.array(probabilities))
    return trainer, SimpleNamespace(hparams={"classes": CLASSES}, predictions={"test": predictions})


def test_the_least_likely_truth_comes_first(drawn: list[Figure], tmp_path: Path) -> None:
    probabilities = [
        [0.6, 0.3, 0.1],  # NORMAL, called COVID19; the truth got .3
        [0.1, 0.8, 0.1],  # NORMAL, right
        [0.9, 0.08, 0.02],  # TUBERCULOSIS, called COVID19; .02
        [0.05, 0.9, 0.05],  # COVID19, called NORMAL; .05
    ]
    WorstMistakesFigure(shown=2).on_test_end(*end_of_test(tmp_path, probabilities, [1, 1, 2, 0]))
    (figure,) = drawn
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "TUBERCULOSIS\ncalled COVID19\nwith 90%",
        "COVID19\ncalled NORMAL\nwith 90%",
    ]
    assert [int(np.asarray(axes.images[0].get_array())[0, 0]) for axes in panels] == [2, 3]
    assert figure.get_suptitle() == "the 2 worst of 3 mistakes on 4 images"
    kept = json.loads((tmp_path / "worst_mistakes.json").read_text(encoding="utf-8"))
    assert list(kept) == ["2.png", "3.png"]  # in the same order, for the run's page
    assert [one["heatmap"] for one in kept.values()] == [None, None]
    assert [int(pixels_of(one["film"]).mean()) for one in kept.values()] == [2, 3]


def test_without_mistakes_nothing_is_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    WorstMistakesFigure().on_test_end(*end_of_test(tmp_path, [[0.9, 0.1, 0.0]], [0]))
    assert drawn == []


def cnn(size_px: int) -> Network:
    torch.manual_seed(4)
    node = {"_target_": "cxr_lightning.models.backbones.CNN5BN", "grid": 2}
    return Network(node=node, num_classes=len(CLASSES), image_size=size_px, channels=1)


def test_each_mistake_has_its_heatmap_beside_it(drawn: list[Figure], tmp_path: Path) -> None:
    films = np.random.default_rng(0).integers(0, 256, (24, 32, 32), dtype=np.uint8)
    probabilities = [[0.5, 0.1, 0.4]] * 2 + [[0.1, 0.2, 0.7]] * 22
    labels = [1, 2] + [2] * 22  # the first two were called COVID19
    given = end_of_test(tmp_path, probabilities, labels, cnn(32), films)
    WorstMistakesFigure().on_test_end(*given)
    (figure,) = drawn
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "NORMAL\ncalled COVID19\nwith 50%",
        "where it looks\nfor COVID19",
        "TUBERCULOSIS\ncalled COVID19\nwith 50%",
        "where it looks\nfor COVID19",
    ]
    called = torch.tensor([0, 0] + [2] * 22)
    heat = heatmaps(cnn(32), torch.from_numpy(films)[:, None], called)
    for i in range(2):
        film, beside = (
            np.asarray(axes.images[0].get_array()) for axes in panels[2 * i : 2 * i + 2]
        )
        assert (film == films[i]).all()
        assert (beside == overlay(films[i], heat[i].numpy())).all()
    kept = json.loads((tmp_path / "worst_mistakes.json").read_text(encoding="utf-8"))
    for i, one in enumerate(kept.values()):  # compressed, so nearly equal
        difference = pixels_of(one["heatmap"]).astype(float) - overlay(films[i], heat[i].numpy())
        assert abs(difference.mean()) < 5
    found = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    shares = share_in_center(heat)
    assert found["images"] == 24
    assert found["center"]["n"] == 24 - found["empty_maps"] == int((~shares.isnan()).sum())
    assert found["center"]["value"] == pytest.approx(shares.nanmean().item())
    assert found["center"]["low"] < found["center"]["value"] < found["center"]["high"]
    assert found["center"]["uniform_share"] == pytest.approx((26 / 32) ** 2)  # margins of 3 px


def test_heatmaps_can_be_left_out(drawn: list[Figure], tmp_path: Path) -> None:
    films = np.zeros((1, 32, 32), dtype=np.uint8)
    given = end_of_test(tmp_path, [[0.9, 0.1, 0.0]], [1], cnn(32), films)
    WorstMistakesFigure(explained=0).on_test_end(*given)
    assert len([axes for axes in drawn[0].axes if axes.images]) == 1
    assert not (tmp_path / "explanation.json").exists()


def test_why_there_are_no_heatmaps_is_said(
    drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WorstMistakesFigure().on_test_end(*end_of_test(tmp_path, [[0.9, 0.1, 0.0]], [1]))
    assert len([axes for axes in drawn[0].axes if axes.images]) == 1
    reason = "No heatmaps: the classifier has no network of cxr_lightning."
    assert reason in capsys.readouterr().out
    found = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    assert found == {"reason": reason}
