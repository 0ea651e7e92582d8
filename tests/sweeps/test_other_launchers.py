"""Hydra's published launchers know nothing of us, and fill the same folders and tables."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import BARE, FOLDERS

OPTIONS = [
    *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
    *("data.num_workers=0", "data.batch_size=4", "split.val_fraction=0", "trainer=cpu"),
    *("trainer.max_epochs=1", "trainer.precision=32-true", "n_resamples=100", "imbalance=focal"),
    *(*BARE, "-m", "imbalance.loss.gamma=-1,0", "seed=0,1"),  # -1 cannot work
]
LAUNCHERS = {
    "basic": [],
    "processes": ["hydra/launcher=processes", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
}


@pytest.fixture(scope="module")
def sweeps(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]
) -> dict[str, Path]:
    """One sweep by each launcher; its folder."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    home = tmp_path_factory.mktemp("launchers")
    write_images(home / "images", {f"{s}/{c}": 4 for s in ("train", "test") for c in FOLDERS})
    # One thread: sums over several differ in the last digit.
    own = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    own |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cxr_lightning.train", *OPTIONS]
    for name, words in LAUNCHERS.items():
        subprocess.run(
            [*command, f"name={name}", *words], cwd=home, env=own, capture_output=True, check=False
        )
    return {name: home / "outputs" / name for name in LAUNCHERS}


@pytest.mark.parametrize("launcher", ["processes", "submitit", "joblib"])
def test_any_launcher_gives_the_same_tables_in_the_same_folders(
    launcher: str, sweeps: dict[str, Path]
) -> None:
    basic, other = sweeps["basic"], sweeps[launcher]
    jobs = [f"imbalance.loss.gamma-{gamma}_seed-{seed}" for gamma in (-1, 0) for seed in (0, 1)]
    for folder in (basic, other):
        found = sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] != ".")
        assert found == jobs
    for name in ("summary.csv", "cells.csv"):
        assert (other / name).read_bytes() == (basic / name).read_bytes()
    text = (other / "summary.csv").read_text(encoding="utf-8")
    assert text.count(",finished,") == text.count(",failed,") == 2
