"""The wheel works where the checkout is not: it brings its own conf/."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cxr_lightning.config import conf_dir

CHECKOUT = Path(__file__).parents[1]


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = start(*build, str(CHECKOUT), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_every_option_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {
        str(file.relative_to(CHECKOUT))
        for package in ("cxr_lightning", "hydra_plugins")
        for file in (CHECKOUT / package).rglob("*.py")
    }
    # A namespace package: other distributions have their own modules in it.
    assert "hydra_plugins/processes_launcher.py" in modules
    assert "hydra_plugins/__init__.py" not in modules
    options = {
        f"cxr_lightning/conf/{file.relative_to(conf_dir())}" for file in conf_dir().rglob("*.yaml")
    }
    assert "cxr_lightning/conf/train.yaml" in options
    assert any(option.startswith("cxr_lightning/conf/hydra/") for option in options)
    others = {"cxr_lightning/py.typed", "cxr_lightning/sweeps/report.html.j2"}
    assert files == modules | options | others


def test_the_wheel_composes_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # -P keeps the current folder off the path; PYTHONPATH comes before the editable install's.
    script = "import cxr_lightning.cli as c; print(c.__file__); print(c.conf_dir())"
    where = start("-P", "-c", script, cwd=tmp_path, PYTHONPATH=str(site))
    assert where.stdout.splitlines() == [
        str(site / "cxr_lightning" / "cli.py"),
        str(site / "cxr_lightning" / "conf"),
    ]
    command = ["-P", "-m", "cxr_lightning.train", "--cfg", "job"]
    done = start(*command, "experiment=report2022", cwd=tmp_path, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout).trainer.max_epochs == 15


def test_the_wheel_brings_the_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [n for n in archive.namelist() if n.endswith("/entry_points.txt")]
        text = archive.read(entry_points).decode()
    for name in ("train", "evaluate", "predict", "report"):
        assert f"cxr-{name} = cxr_lightning.{name}:main" in text
