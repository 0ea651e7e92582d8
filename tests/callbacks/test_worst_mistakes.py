"""Which mistakes are drawn, and in which order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cxr_lightning.callbacks.figures import WorstMistakesFigure
from cxr_lightning.models.predictions import Predictions

CLASSES = ["COVID19", "NORMAL", "TUBERCULOSIS"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, before they are closed."""
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    monkeypatch.setattr(plt, "close", lambda _: None)
    return saved


def end_of_test(folder: Path, probabilities: list[list[float]], labels: list[int]) -> Any:
    """The trainer and the module at the end of a test of these images, row i all of grey i."""
    n = len(labels)
    pixels = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    data = SimpleNamespace(name="kaggle")
    datamodule = SimpleNamespace(pixels=pixels, data=data)
    trainer = SimpleNamespace(
        datamodule=datamodule, default_root_dir=str(folder), loggers=[], current_epoch=3
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


def test_without_mistakes_nothing_is_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    WorstMistakesFigure().on_test_end(*end_of_test(tmp_path, [[0.9, 0.1, 0.0]], [0]))
    assert drawn == []
