"""The images that most runs get wrong: which, in which order, and their thumbnails."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from written_sweeps import cell

from cxr_lightning.pages.thumbnails import SIZE_PX
from cxr_lightning.sweeps.cells import Cell
from cxr_lightning.sweeps.mistakes import SHOWN, common_mistakes

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA"]


def called(*cells: list[str], labels: str, sure: float = 0.8, root: str = "") -> list[Cell]:
    """`called(["00", "01"], ["02"], labels="01")`: two cells; what each run calls the images.

    What a run calls an image has probability `sure`, the other two share the rest.
    """
    probabilities = sure * np.eye(3) + (1 - sure) / 2 * (1 - np.eye(3))
    true = [int(k) for k in labels]
    return [
        cell(
            {"model": str(i)},
            np.stack([probabilities[[int(k) for k in run]] for run in runs]),
            true,
            CLASSES,
            root=root,
        )
        for i, runs in enumerate(cells)
    ]


def test_at_least_half_of_all_runs_must_be_wrong_the_worst_come_first() -> None:
    # Wrong of 4 runs: image 0 in none, 1 in one, 2 in two, 3 in three, 4 in all.
    found = common_mistakes(called(["00001"], ["00011", "00111", "01111"], labels="00000"))
    assert [(m["path"], m["wrong"], m["runs"]) for m in found] == [
        ("4.png", 4, 4),
        ("3.png", 3, 4),
        ("2.png", 2, 4),
    ]


def test_of_an_odd_number_of_runs_half_is_rounded_up() -> None:
    found = common_mistakes(called(["011", "001", "000"], labels="000"))
    assert [(m["path"], m["wrong"]) for m in found] == [("2.png", 2)]  # 1 of 3 is less than half


def test_a_mistake_tells_the_class_and_what_it_was_called_most_often_first() -> None:
    (mistake,) = common_mistakes(called(["0", "2"], ["2", "1", "2"], labels="1"))
    assert mistake["label"] == "NORMAL"
    assert list(mistake["called"].items()) == [("PNEUMONIA", 3), ("COVID19", 1)]
    assert (mistake["wrong"], mistake["runs"]) == (4, 5)


def test_among_equals_the_truth_that_seemed_least_likely_comes_first() -> None:
    truth = np.array([0.15, 0.05, 0.1])
    probabilities = np.stack([truth, np.full(3, 0.8), 0.2 - truth], axis=1)
    found = common_mistakes([cell({"model": "a"}, probabilities[None], [0, 0, 0], CLASSES)])
    assert [m["path"] for m in found] == ["1.png", "2.png", "0.png"]


def test_the_mean_over_runs_decides_how_likely_the_truth_seemed() -> None:
    sure, unsure = (called(["11"], labels="00", sure=s)[0].seeds[0] for s in (0.9, 0.5))
    run = unsure.probabilities
    mixed = np.stack([run[0], sure.probabilities[1]])
    # Image 0: .25 in both runs. Image 1: .25 and .05.
    found = common_mistakes(
        [cell({"m": m}, p[None], [0, 0], CLASSES) for m, p in (("a", run), ("b", mixed))]
    )
    assert [m["path"] for m in found] == ["1.png", "0.png"]


def test_images_of_other_folders_are_other_images() -> None:
    here, there = (called([word], labels="0", root=f"/{word}") for word in ("1", "0"))
    assert [(m["wrong"], m["runs"]) for m in common_mistakes([*here, *there])] == [(1, 1)]


def test_of_cells_with_other_test_images_each_image_has_its_own_number_of_runs() -> None:
    found = common_mistakes([*called(["1", "1"], labels="0"), *called(["01"], labels="00")])
    # 0.png: wrong in 2 of 3 runs. 1.png: in the only one.
    assert [(m["path"], m["wrong"], m["runs"]) for m in found] == [("1.png", 1, 1), ("0.png", 2, 3)]


def test_no_mistakes_and_too_many() -> None:
    assert common_mistakes(called(["012"], labels="012")) == []
    many = common_mistakes(called(["0" * 40], labels="1" * 40))
    assert [m["path"] for m in many] == [f"{i}.png" for i in range(SHOWN)]


def test_thumbnails_are_the_images_made_small(
    write_images: Callable[..., list[str]], tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"test/NORMAL": 2}, size=300)
    for source, name in zip(paths, ("0.png", "1.png"), strict=True):
        (tmp_path / source).rename(tmp_path / name)
    (tmp_path / "3.png").write_text("no image")
    found = common_mistakes(called(["0000"], labels="1111", root=str(tmp_path)))
    first, second, gone, text = found
    assert (gone["thumbnail"], text["thumbnail"]) == (None, None)
    assert (gone["path"], gone["label"], gone["wrong"]) == ("2.png", "NORMAL", 1)
    assert first["thumbnail"] is not None and first["thumbnail"] != second["thumbnail"]
    head, _, content = first["thumbnail"].partition(",")
    assert head == "data:image/webp;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (shown.format, shown.size) == ("WEBP", (SIZE_PX, SIZE_PX))
    source = Image.open(tmp_path / first["path"]).resize(
        (SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR
    )
    error = np.asarray(shown.convert("L"), float) - np.asarray(source.convert("L"), float)
    assert np.abs(error).mean() < 10  # compressed; another image is over 30 off
    other = Image.open(tmp_path / second["path"]).resize((SIZE_PX, SIZE_PX))
    assert np.abs(np.asarray(other, float) - np.asarray(source, float)).mean() > 30


def test_without_a_folder_of_images_there_are_no_thumbnails() -> None:
    (mistake,) = common_mistakes(called(["0"], labels="1"))
    assert mistake["thumbnail"] is None
