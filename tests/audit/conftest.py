"""A clean generated set, and an audit of it with one fault planted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from small_runs import FOLDERS

from cxr_lightning.audit.findings import Audit, audit
from cxr_lightning.config import DataConfig, SplitConfig

N_TRAIN, N_TEST = 40, 30  # images of each class
OFFICIAL = SplitConfig(name="official", val_fraction=0)


@pytest.fixture
def clean(tmp_path: Path, write_images: Callable[..., list[str]]) -> Path:
    """Stripes in the centre, whose angle is the class: file, grey levels and border tell nothing.

    All are stored without compression, as some angles compress better than others.
    """
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        write_images(tmp_path / "set", {f"{split}/{name}": n for name in FOLDERS}, size=128)
    rng = np.random.default_rng(0)
    for film in sorted((tmp_path / "set").glob("*/*/*.png")):
        with Image.open(film) as image:
            stripes = np.array(image)
        noise = ndimage.gaussian_filter(rng.normal(0, 1, stripes.shape), 6)
        pixels = np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.uint8)
        pixels[16:-16, 16:-16] = stripes[16:-16, 16:-16]
        Image.fromarray(pixels).save(film, compress_level=0)
    return tmp_path / "set"


@pytest.fixture
def audited(kaggle_config: Callable[..., DataConfig]) -> Callable[..., Audit]:
    """`audited(root)`: what an audit finds; keys as in `conf/data`."""

    def look(
        root: Path, split: SplitConfig = OFFICIAL, labels: bool = False, **keys: object
    ) -> Audit:
        return audit(kaggle_config(root, **keys), split, 5, 200, labels)

    return look
