"""`cxr-audit` as a command: its status, its files, and a network without lungs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from cxr_lightning import audit_command as command
from cxr_lightning.audit.masks import MASKS
from cxr_lightning.errors import LeakError

Composed = Callable[..., DictConfig]


@pytest.fixture
def settings(clean: Path, tmp_path: Path) -> list[str]:
    return [
        *("data=kaggle", f"data.root='{clean}'", f"data.cache_dir='{tmp_path / 'cache'}'"),
        *(f"folder='{tmp_path / 'audit'}'", "n_resamples=100", "labels=false"),
    ]


def test_a_clean_set_has_a_page_and_no_leak(
    composed: Composed, settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.run(composed("audit", *settings))
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert {v["level"] for v in content["verdicts"]} == {"note"}
    assert [rung["rung"] for rung in content["ladder"]][:2] == ["nothing", "facts"]
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "No film is there twice." in page and "How good is nothing?" in page
    assert "audit.html" in capsys.readouterr().out


def test_a_leak_is_an_error_and_everything_is_written(
    composed: Composed, settings: list[str], clean: Path, tmp_path: Path
) -> None:
    film = clean / "test" / "NORMAL" / "NORMAL(001).png"
    (clean / "train" / "NORMAL" / "<b>copy & co.png").write_bytes(film.read_bytes())
    with pytest.raises(LeakError, match="There is a leak"):
        command.run(composed("audit", *settings, "ladder_minutes=0"))
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["verdicts"][0]["level"] == "leak"
    paths = {row["path"] for row in content["duplicates"]}
    assert paths == {"test/NORMAL/NORMAL(001).png", "train/NORMAL/<b>copy & co.png"}
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "&lt;b&gt;copy &amp; co.png" in page and "<b>copy" not in page
    assert page.count("data:image/webp") == 2


def test_masks_by_hand() -> None:
    image = np.full((20, 20), 9, dtype=np.uint8)
    border = MASKS["border only"](image.copy())
    centre = MASKS["centre only"](image.copy())
    assert (border == 0).sum() == 16 * 16 and (border[2:-2, 2:-2] == 0).all()
    assert (centre == 9).sum() == 16 * 16 and (centre[2:-2, 2:-2] == 9).all()
    assert (MASKS["whole"](image) == 9).all()
