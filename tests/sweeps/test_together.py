"""All seeds of a cell as one network, by hand."""

from dataclasses import replace

import numpy as np
from written_sweeps import cell

from cxr_lightning.sweeps.cells import Cell
from cxr_lightning.sweeps.together import all_seeds_together

CLASSES = ["a", "b"]
# Each seed is wrong about one image of a, with less conviction than the others are right.
PROBABILITIES = np.array(
    [
        [[0.4, 0.6], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3]],
        [[0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]],
        [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.9, 0.1]],
    ]
)
LABELS = [0, 0, 0, 1, 1]


def three_seeds() -> Cell:
    return cell({"model": "cnn5"}, PROBABILITIES, LABELS, CLASSES)


def test_the_mean_of_the_probabilities_is_what_counts() -> None:
    table = all_seeds_together([three_seeds()], n_resamples=100)
    (row,) = table.to_dict("records")
    # Means of class a: .73, .73, .73, .1, .73: the last image is wrong; each seed has 2 errors.
    assert row["cell"] == "cnn5"
    assert (row["seeds"], row["n"]) == ("3", "5")
    assert row["accuracy"].startswith("80.0% (")
    assert row["recall/a"].startswith("100.0% (")
    assert row["recall/b"].startswith("50.0% (")
    assert row["macro recall"].startswith("75.0%")
    assert three_seeds().values_of["accuracy"].tolist() == [0.6, 0.6, 0.6]


def test_one_seed_and_seeds_of_other_images_have_no_row() -> None:
    whole = three_seeds()
    one = replace(whole, seeds=whole.seeds[:1])
    other = replace(whole.seeds[1], tests=whole.seeds[1].tests.assign(path=list("vwxyz")))
    mixed = replace(whole, seeds=[whole.seeds[0], other])
    assert all_seeds_together([one, mixed], n_resamples=100).empty
