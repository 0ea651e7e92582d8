"""report.html as people open it: from a file, without network, on a desk and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

WIDTHS_PX = {"desk": 1400, "phone": 360}


@pytest.fixture(scope="module", params=WIDTHS_PX)
def page(
    request: pytest.FixtureRequest, browser: webdriver.Chrome, sweep: Path
) -> Iterator[webdriver.Chrome]:
    """The report, at a width; Chromium's windows are never narrower than 500, so it is emulated."""
    metrics = {"width": WIDTHS_PX[request.param], "height": 900, "deviceScaleFactor": 1}
    phone = {**metrics, "mobile": request.param == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get((sweep / "report.html").as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_has_every_part(page: webdriver.Chrome) -> None:
    headings = [heading.text for heading in page.find_elements(By.TAG_NAME, "h2")]
    assert headings == [
        "What was compared",
        "The grid",
        "Effect of each factor",
        "Which cells differ",
        "Confusion matrices",
        "Recall by class",
        "Learning curves",
        "Training cost",
        "Images that most runs get wrong",
        "How it was computed",
    ]


def test_it_needs_nothing_from_elsewhere(page: webdriver.Chrome) -> None:
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    sources = [image.get_attribute("src") or "" for image in page.find_elements(By.TAG_NAME, "img")]
    assert len(sources) >= 10
    assert all(source.startswith("data:image/") for source in sources)


def test_every_picture_is_drawn_and_said_in_words(page: webdriver.Chrome) -> None:
    for image in page.find_elements(By.TAG_NAME, "img"):
        words = image.get_attribute("alt") or ""
        assert len(words) > 20, words
        assert page.execute_script("return arguments[0].naturalWidth", image) > 0, words


def test_nothing_is_wider_than_the_screen_but_what_scrolls_by_itself(
    page: webdriver.Chrome,
) -> None:
    width, shown = page.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width == shown


def test_the_table_has_the_numbers_of_the_runs(page: webdriver.Chrome, sweep: Path) -> None:
    import pandas as pd

    jobs = pd.read_csv(sweep / "summary.csv")
    text = page.find_element(By.TAG_NAME, "body").text
    for augment, seeds in jobs.groupby("augment"):
        mean, sd = seeds["test/accuracy"].mean(), seeds["test/accuracy"].std(ddof=1)
        row = next(line for line in text.splitlines() if line.startswith(f"{augment} 2 "))
        assert f"{mean:.1%} ± {sd:.1%}" in row
