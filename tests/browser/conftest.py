"""A finished small sweep, TensorBoard on it, and a real browser without a screen."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SETTINGS = [
    *("data=kaggle", "data.root=images", "data.cache_dir=cache", "data.image_size=32"),
    *("data.num_workers=0", "data.batch_size=8", "trainer=cpu", "trainer.max_epochs=2"),
    "optim.lr=0.0002",  # slow enough that there are mistakes to look at
    *("trainer.precision=32-true", "callbacks.progress=null", "n_resamples=100", "name=grid"),
]


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., list[str]]) -> Path:
    """Two cells of two seeds, finished; its folder."""
    folder = tmp_path_factory.mktemp("browser")
    for split, n in (("train", 12), ("test", 6)):
        classes = ("COVID19", "NORMAL", "PNEUMONIA", "TURBERCULOSIS")
        write_images(folder / "images", {f"{split}/{name}": n for name in classes})
    command = [sys.executable, "-m", "cxr_lightning.train", "-m", *SETTINGS]
    subprocess.run([*command, "augment=none,standard", "seed=0,1"], cwd=folder, check=True)
    return folder / "outputs" / "grid"


@pytest.fixture(scope="session")
def tensorboard(sweep: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the sweep."""
    words = ["--logdir", str(sweep), "--host", "127.0.0.1", "--port", "0"]
    command = [sys.executable, "-m", "tensorboard.main", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield found[0]
                break
        else:
            pytest.fail(f"TensorBoard did not start: {''.join(said)}")
        server.terminate()


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium; where there is none, tests are skipped, but not in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        message = "No chromium with chromedriver (on Debian: apt-get install chromium-driver)."
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        *("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "window-size=1400,1000"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
    ):
        options.add_argument(f"--{word}")
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()
