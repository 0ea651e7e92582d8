"""report.html as people open it: from a file, without network, on a desk and on a phone."""

import re
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
        "Results",
        "How good is nothing?",
        "Effect of each factor",
        "Which cells differ",
        "Confusion matrices",
        "Learning curves",
        "Training cost",
        "Images that most runs get wrong",
        "How it was computed",
    ]


def test_it_needs_nothing_from_elsewhere(page: webdriver.Chrome) -> None:
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    sources = [image.get_attribute("src") or "" for image in page.find_elements(By.TAG_NAME, "img")]
    assert len(sources) >= 7  # two of means, two of effects, three of curves
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
    rows = page.execute_script(
        "return [...document.querySelectorAll('tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    for augment, seeds in jobs.groupby("augment"):
        mean, sd = seeds["test/accuracy"].mean(), seeds["test/accuracy"].std(ddof=1)
        row = next(row for row in rows if row[:2] == [augment, "2 of 2"])
        assert any(cell.startswith(f"{100 * mean:.1f} ± {100 * sd:.1f}%") for cell in row)


def test_a_confusion_matrix_is_a_table_with_shades_and_a_caption(page: webdriver.Chrome) -> None:
    matrices = page.find_elements(By.CSS_SELECTOR, "table.matrix")
    assert len(matrices) == 2
    for matrix in matrices:
        caption = matrix.find_element(By.TAG_NAME, "caption").text
        assert caption.endswith("rows are the true class, columns the predicted class")
        squares = matrix.find_elements(By.TAG_NAME, "td")[1:]  # the first is the empty corner
        assert len(squares) == 16
        # A share of all is the darkest, a share of none the lightest.
        counts = {s.text.split()[1]: s.value_of_css_property("background-color") for s in squares}
        shades = {share: sum(map(int, re.findall(r"\d+", c)[:3])) for share, c in counts.items()}
        ordered = sorted(shades, key=lambda share: int(share.rstrip("%")))
        assert [shades[s] for s in ordered] == sorted(shades.values(), reverse=True)
