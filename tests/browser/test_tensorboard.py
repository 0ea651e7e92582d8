"""What people see when they open TensorBoard on a sweep."""

import json
from pathlib import Path

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CLASSES = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
RUNS = [f"augment-{a}_seed-{s}" for a in ("none", "standard") for s in (0, 1)]


def shown(browser: webdriver.Chrome, address: str, *words: str) -> str:
    """The page's text, once it has all `words`."""
    browser.get("about:blank")  # a change of the part after # alone does not load anything
    browser.get(address)

    def text(browser: webdriver.Chrome) -> str:
        return str(browser.find_element(By.TAG_NAME, "body").text)

    try:
        WebDriverWait(browser, 60).until(lambda b: all(word in text(b) for word in words))
    except Exception as error:
        missing = [word for word in words if word not in text(browser)]
        raise AssertionError(f"not on {address}: {missing}\n{text(browser)}") from error
    return text(browser)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_scalars_name_every_run(browser: webdriver.Chrome, tensorboard: str, split: str) -> None:
    address = f"{tensorboard}?tagFilter={split}%2Ff1_macro#timeseries"
    shown(browser, address, *RUNS, f"{split}\n/f1_macro")  # the page breaks the tag in two


def test_custom_scalars_have_each_curve_of_all_runs_in_one_chart(
    browser: webdriver.Chrome, tensorboard: str
) -> None:
    titles = ["training loss", "validation loss", "validation macro F1", *CLASSES]
    text = shown(browser, f"{tensorboard}#custom_scalars", *titles, *RUNS, "Matches (4)")
    assert text.count("Matches (4)") == len(titles)  # four runs in each


def test_images_show_augmentation_confusion_and_mistakes(
    browser: webdriver.Chrome, tensorboard: str
) -> None:
    tags = ["augmentation", "test/confusion_matrix", "test/worst_mistakes"]
    shown(browser, f"{tensorboard}#images", *(f"tag: {tag}" for tag in tags), *RUNS)
    pictures = "return [...document.querySelectorAll('tf-image-dashboard')].flatMap(deep)"
    script = (
        "const deep = n => [...(n.shadowRoot || n).querySelectorAll('*')]"
        ".flatMap(e => [...(e.tagName === 'IMG' ? [e.naturalWidth] : []),"
        " ...(e.shadowRoot ? deep(e) : [])]);" + pictures
    )
    WebDriverWait(browser, 60).until(
        lambda b: len([w for w in b.execute_script(script) if w > 100]) >= 3 * len(RUNS)
    )


def test_hparams_compare_runs_by_final_test_metrics(
    browser: webdriver.Chrome, tensorboard: str, sweep: Path
) -> None:
    text = shown(browser, f"{tensorboard}#hparams", *RUNS, "test/accuracy", "TABLE VIEW")
    for run in RUNS:
        metrics = json.loads((sweep / run / "metrics.json").read_text())["metrics"]
        accuracy = metrics["test/accuracy"]["value"]
        cells = text[text.rindex(run) :].splitlines()
        assert f"{accuracy:#.5g}" in cells[:12], (run, cells[:12])


def test_pr_curves_are_there_for_each_class(browser: webdriver.Chrome, tensorboard: str) -> None:
    shown(browser, f"{tensorboard}#pr_curves", *(f"tag: test/pr_curve/{name}" for name in CLASSES))


def test_the_configuration_is_there_as_text(
    browser: webdriver.Chrome, tensorboard: str, sweep: Path
) -> None:
    config = (sweep / RUNS[0] / "config.yaml").read_text()
    lines = [line.strip() for line in config.splitlines() if "max_epochs" in line or "lr:" in line]
    assert len(lines) >= 2
    shown(browser, f"{tensorboard}#text", "configuration/text_summary", *lines)


def test_curves_are_those_of_the_run_folder(sweep: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for run in RUNS:
        events = EventAccumulator(str(sweep / run)).Reload()
        written = pd.read_csv(sweep / run / "curves.csv")["val/f1_macro"]
        drawn = [event.value for event in events.Scalars("val/f1_macro")]
        assert drawn == pytest.approx(written.tolist(), abs=1e-6)
