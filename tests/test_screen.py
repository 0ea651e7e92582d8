"""What is printed of the images is what they are called, brackets and all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from cxr_lightning.data.index import Index
from cxr_lightning.data.splits import counts
from cxr_lightning.screen import print_data


def test_brackets_in_paths_and_names_are_printed_and_notes_follow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pd.DataFrame(
        {"label": [0, 1, 1], "split": ["train", "train", "test"], "group": list("aab")}
    )
    index = Index(Path("/[old]"), ("[red]", "b"), table, {".[x]": 1}, ["See `[bold]` = `B`."])
    datamodule: Any = SimpleNamespace(
        index=index,
        table=table,
        data=SimpleNamespace(name="folder"),
        unreadable={"[dim]/a.png": "empty"},
        counts=lambda: counts(table, index.classes),
    )
    print_data(datamodule)
    printed = capsys.readouterr().out
    for text in ("/[old]", "[red]", "1 .[x]", "See `[bold]` = `B`.", "[dim]/a.png (empty)"):
        assert text in printed
    # [red] has one image, in train; b one in each; one patient trains and another one tests.
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines()]
    assert ["[red]", "1", "0", "0", "1"] in rows
    assert ["b", "1", "0", "1", "2"] in rows
    assert ["patients", "1", "0", "1", "2"] in rows
