"""The images that most runs get wrong: which, in which order, and their thumbnails."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_lightning.sweeps.aligned import Aligned, Cell
from cxr_lightning.sweeps.mistakes import SHOWN, SIZE_PX, common_mistakes

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA"]


def aligned(*cells: list[str], labels: str, sure: float = 0.8) -> Aligned:
    """`aligned(["00", "01"], ["02"], labels="01")`: two cells; what each run calls the images.

    What a run calls an image has probability `sure`, the other two share the rest.
    """
    probabilities = sure * np.eye(3) + (1 - sure) / 2 * (1 - np.eye(3))
    of_cells = [
        Cell({"model": str(i)}, [str(s) for s in range(len(runs))],
             np.stack([probabilities[[int(k) for k in run]] for run in runs]))
        for i, runs in enumerate(cells)
    ]  # fmt: skip
    paths = [f"{i}.png" for i in range(len(labels))]
    return Aligned(CLASSES, paths, np.array([int(k) for k in labels]), paths, of_cells)


def test_at_least_half_of_all_runs_must_be_wrong_the_worst_come_first() -> None:
    # Wrong of 4 runs: image 0 in none, 1 in one, 2 in two, 3 in three, 4 in all.
    found = common_mistakes(aligned(["00001"], ["00011", "00111", "01111"], labels="00000"), None)
    assert [(m.path, m.wrong, m.runs) for m in found] == [
        ("4.png", 4, 4),
        ("3.png", 3, 4),
        ("2.png", 2, 4),
    ]


def test_of_an_odd_number_of_runs_half_is_rounded_up() -> None:
    found = common_mistakes(aligned(["011", "001", "000"], labels="000"), None)
    assert [(m.path, m.wrong) for m in found] == [("2.png", 2)]  # 1 of 3 is less than half


def test_a_mistake_tells_the_class_and_what_it_was_called_most_often_first() -> None:
    (mistake,) = common_mistakes(aligned(["0", "2"], ["2", "1", "2"], labels="1"), None)
    assert mistake.label == "NORMAL"
    assert list(mistake.called.items()) == [("PNEUMONIA", 3), ("COVID19", 1)]
    assert (mistake.wrong, mistake.runs) == (4, 5)


def test_among_equals_the_truth_that_seemed_least_likely_comes_first() -> None:
    one = aligned(["111"], labels="000")
    truth = np.array([0.15, 0.05, 0.1])
    probabilities = np.stack([truth, np.full(3, 0.8), 0.2 - truth], axis=1)
    cells = [Cell({"model": "a"}, ["0"], probabilities[None])]
    one = Aligned(one.classes, one.paths, one.labels, one.patients, cells)
    assert [m.path for m in common_mistakes(one, None)] == ["1.png", "2.png", "0.png"]


def test_the_mean_over_runs_decides_how_likely_the_truth_seemed() -> None:
    sure, unsure = (aligned(["11"], labels="00", sure=s).cells[0] for s in (0.9, 0.5))
    run = unsure.probabilities[0]
    mixed = np.stack([run[0], sure.probabilities[0, 1]])
    one = aligned(["11"], labels="00")
    cells = [Cell({"m": "a"}, ["0"], run[None]), Cell({"m": "b"}, ["0"], mixed[None])]
    # Image 0: .25 in both runs. Image 1: .25 and .05.
    found = common_mistakes(Aligned(CLASSES, one.paths, one.labels, one.patients, cells), None)
    assert [m.path for m in found] == ["1.png", "0.png"]


def test_no_mistakes_and_too_many() -> None:
    assert common_mistakes(aligned(["012"], labels="012"), None) == []
    many = common_mistakes(aligned(["0" * 40], labels="1" * 40), None)
    assert [m.path for m in many] == [f"{i}.png" for i in range(SHOWN)]


def test_thumbnails_are_the_images_made_small(
    write_images: Callable[..., list[str]], tmp_path: Path
) -> None:
    paths = write_images(tmp_path, {"test/NORMAL": 2}, size=300)
    found = aligned(["0000"], labels="1111")
    (tmp_path / "text.png").write_text("no image")
    named = [*paths, "test/gone.png", "text.png"]
    found = Aligned(found.classes, named, found.labels, found.patients, found.cells)
    first, second, gone, text = common_mistakes(found, tmp_path)
    assert (gone.thumbnail, text.thumbnail) == (None, None)
    assert (gone.path, gone.label, gone.wrong) == ("test/gone.png", "NORMAL", 1)
    assert first.thumbnail is not None and first.thumbnail != second.thumbnail
    head, _, content = first.thumbnail.partition(",")
    assert head == "data:image/webp;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (shown.format, shown.size) == ("WEBP", (SIZE_PX, SIZE_PX))
    source = Image.open(tmp_path / first.path).resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)
    error = np.asarray(shown.convert("L"), float) - np.asarray(source.convert("L"), float)
    assert np.abs(error).mean() < 10  # compressed; another image is over 30 off
    other = Image.open(tmp_path / second.path).resize((SIZE_PX, SIZE_PX))
    assert np.abs(np.asarray(other, float) - np.asarray(source, float)).mean() > 30


def test_without_a_folder_of_images_there_are_no_thumbnails() -> None:
    (mistake,) = common_mistakes(aligned(["0"], labels="1"), None)
    assert mistake.thumbnail is None
