"""The wheel works where the checkout is not: it brings its own conf/. The sdist builds it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    done = start(
        *("-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)), cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


def text_in(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def test_the_wheel_holds_every_module_and_every_option_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {
        str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "cxr_lightning").rglob("*.py")
    }
    assert "cxr_lightning/sweeps/sweepers.py" in modules
    options = {
        f"cxr_lightning/conf/{file.relative_to(conf_dir())}" for file in conf_dir().rglob("*.yaml")
    }
    assert "cxr_lightning/conf/train.yaml" in options
    assert any(option.startswith("cxr_lightning/conf/hydra/") for option in options)
    others = {
        "cxr_lightning/py.typed",
        "cxr_lightning/audit/audit.html.j2",
        "cxr_lightning/cards/claim.md.j2",
        "cxr_lightning/cards/model_card.md.j2",
        "cxr_lightning/cards/page.html.j2",
        "cxr_lightning/decisions/triage.html.j2",
        "cxr_lightning/pages/base.html.j2",
        "cxr_lightning/pages/gallery.html.j2",
        "cxr_lightning/pages/macros.html.j2",
        "cxr_lightning/sweeps/notes.txt.j2",
        "cxr_lightning/sweeps/page.html.j2",
    }
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
    text = text_in(wheel, "entry_points.txt")
    for name in ("train", "evaluate", "predict", "report"):
        assert f"cxr-{name} = cxr_lightning.{name}:main" in text


def test_the_wheel_says_whose_it_is_and_under_which_license(wheel: Path) -> None:
    metadata = message_from_string(text_in(wheel, "METADATA"))
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Author"] == "The CXR Lightning authors"
    license_text = (CHECKOUT / "LICENSE").read_text(encoding="utf-8")
    assert text_in(wheel, "licenses/LICENSE") == license_text
    assert "The CXR Lightning authors" in license_text
    extras = {"clahe", "dev", "dicom", "export", "kaggle", "launchers", "pretrained"}
    extras |= {"search", "timm"}
    assert set(metadata.get_all("Provides-Extra") or []) == extras


def test_the_sdist_brings_what_a_reader_and_a_packager_need(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    documents = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml"}
    assert documents | {"conf/train.yaml", "tests/test_wheel.py"} <= names
