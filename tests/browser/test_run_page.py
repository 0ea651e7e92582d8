"""A run's report.html as people open it: from a file, on a desk and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from written_runs import bare_run, whole_run

from cxr_lightning.cards.page import write_pages

WIDTHS_PX = {"desk": 1400, "phone": 360}


@pytest.fixture(scope="module", params=WIDTHS_PX)
def width_px(request: pytest.FixtureRequest, browser: webdriver.Chrome) -> Iterator[int]:
    """Chromium's windows are never narrower than 500, so the width is emulated."""
    width = WIDTHS_PX[request.param]
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1}
    phone = {**metrics, "mobile": request.param == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    yield width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("write", [whole_run, bare_run])
def test_it_has_every_part_and_fits_the_screen(
    write: object, width_px: int, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    page = write_pages(write(tmp_path))  # type: ignore[operator]
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    headings = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    assert headings == [
        "Limits",
        "Test numbers",
        "Confusion matrix",
        "Learning curves",
        "Calibration",
        "How good is nothing?",
        "Other hospitals",
        "Triage",
        "Subgroups",
        "The worst mistakes, and where the network looks",
        "Model card",
        "CLAIM 2024",
        "Files of the run",
    ]
    # Wide tables and charts scroll in themselves, the page does not.
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= width_px
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_every_link_to_a_file_leads_to_one(
    width_px: int, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    browser.get(write_pages(whole_run(tmp_path)).as_uri())
    links = [link.get_dom_attribute("href") for link in browser.find_elements(By.TAG_NAME, "a")]
    files = {link for link in links if link and not link.startswith("https://doi.org")}
    assert {"metrics.json", "model_card.md", "claim.md", "triage/triage.json"} <= files
    assert all((tmp_path / file).exists() for file in files)
