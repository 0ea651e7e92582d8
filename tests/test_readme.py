"""README and --help: what they print composes, and their examples run as they are printed."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from cxr_lightning.config import conf_dir

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PHANTOMS = ["data.phantom.n_images=240", "data.image_size=32", "data.batch_size=32"]
SMALL = ["trainer=smoke", "trainer.accelerator=cpu", "n_resamples=100"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def examples(text: str) -> list[list[str]]:
    """The words of every `cxr-…` line, comments and `pip install … &&` left out."""
    lines = [line.rpartition("&& ")[2].strip() for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("cxr-")]


def composed(words: list[str]) -> DictConfig:
    """What the command composes for its first job."""
    command, *given = words
    texts = [word.replace("…", "text") for word in given if word != "-m"]
    single = []
    for override in OverridesParser.create().parse_overrides(texts):
        value = override.value()
        if override.is_sweep_override() and not override.is_interval_sweep():
            first = next(iter(override.sweep_string_iterator()), value)
            single.append(f"{override.get_key_element()}={first}")
        elif not override.is_sweep_override():
            single.append(str(override.input_line))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command.removeprefix("cxr-"), single)


def start(words: list[str], cwd: Path) -> str:
    """Run a command, caching in cwd; what it prints. It must succeed."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    module = project["project"]["scripts"][words[0]].partition(":")[0]
    done = subprocess.run(
        [sys.executable, "-m", module, *words[1:]],
        cwd=cwd,
        env=os.environ | {"CXR_LIGHTNING_CACHE": str(cwd / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        *("cxr-train", "cxr-evaluate", "cxr-predict", "cxr-report"),
        *("cxr-audit", "cxr-triage", "cxr-export"),
    ],
)
def test_help_begins_with_what_a_command_does_and_three_examples(
    command: str, tmp_path: Path
) -> None:
    said, _, after = start([command, "--help"], tmp_path).partition("\nExamples:\n")
    assert re.fullmatch(rf"{command} [a-z].*\.\n", said, re.DOTALL)
    shown = examples(after)
    assert [words[0] for words in shown] == [command] * 3
    for words in shown:
        composed(words)


README_EXAMPLES = [
    words
    for block in blocks("sh")
    for words in examples(block)
    if "--config-dir" not in words  # run below
]


@pytest.mark.parametrize("words", README_EXAMPLES, ids=" ".join)
def test_every_command_of_the_readme_composes(words: list[str]) -> None:
    launcher = next((word for word in words if re.search("launcher=(submitit|joblib)", word)), "")
    if launcher and find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        pytest.skip("needs cxr-lightning[launchers]")
    composed(words)


def test_the_readme_names_every_option() -> None:
    table = README.partition("## What can be swapped")[2].partition("## ")[0]
    groups = ("augment", "callbacks", "data", "experiment", "hparams_search", "imbalance")
    groups += ("logger", "model", "optim", "split", "trainer")
    options = {file.stem for group in groups for file in (conf_dir() / group).glob("*.yaml")}
    assert options - set(re.findall(r"`(\w+)`", table)) == set()


def test_a_manifest_and_parts_of_ones_own_train_by_yaml_alone(tmp_path: Path) -> None:
    (code,) = (block for block in blocks("python") if block.startswith("# my_code.py"))
    (tmp_path / "my_code.py").write_text(code, encoding="utf-8")
    (options,) = blocks("yaml")
    films = tmp_path / "films"
    for part in re.split(r"^# (?=my_conf/)", options, flags=re.MULTILINE)[1:]:
        name, _, content = part.partition("\n")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content.replace("/path/to/films", str(films)), "utf-8")
    films.mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(films / f"{i}.png")
    listed = {"file": [f"{i}.png" for i in range(80)], "patient": [f"p{i // 2}" for i in range(80)]}
    listed |= {"diagnosis": ["No Finding", "No Finding", "pneumonia", "pneumonia"] * 20}
    listed |= {"sex": ["f", "f", "m", "m"] * 20}
    pd.DataFrame(listed).to_csv(f"{films}.csv", index=False, sep=";")

    (block,) = (block for block in blocks("sh") if "--config-dir" in block)
    train, evaluate = examples(block)
    start([*train, *SMALL, "data.image_size=32", "data.num_workers=0"], tmp_path)
    run = tmp_path / "outputs" / "tiny"
    config = OmegaConf.load(run / "config.yaml")
    assert config.model.network == {"_target_": "my_code.TinyNet", "width": 16}
    assert config.imbalance.loss == {"_target_": "my_code.PolyLoss"}
    assert list(config.augment) == ["flip", "rotate", "crop", "noise"]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    # A convolution of 16 · 5 · 5 weights and 16 biases, a head of 2 · 16 weights and 2 biases.
    assert record["parameters"] == 16 * 25 + 16 + 2 * 16 + 2
    # 40 patients of two films: 8 are tested (80:20), and a tenth of the other 32 validates.
    assert record["patients"]["test"] == 8
    assert record["images"]["test"] == {"NORMAL": 8, "PNEUMONIA": 8}
    predictions = pd.read_csv(run / "predictions.csv")
    assert set(predictions["label"] + predictions["sex"]) == {"NORMALf", "PNEUMONIAm"}

    assert evaluate[-1] == "trust=[my_code]"  # without it: tests/test_trust.py
    start([*evaluate, "n_resamples=100", "name=again"], tmp_path)
    again = pd.read_csv(tmp_path / "outputs" / "again" / "predictions.csv")
    pd.testing.assert_frame_equal(again, predictions)


def test_the_scripts_run_as_they_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small = ", ".join(f'"{word}"' for word in [*SMALL, *PHANTOMS])
    command, plain = (b for b in blocks("python") if "compose(" in b)
    seen: dict[str, Any] = {}
    for script in (command, plain):
        short = script.replace('"model=resnet18"', f'"model=resnet18", {small}')
        short = short.replace("Trainer(max_epochs=1)", "trainer = Trainer(max_epochs=1)\ntrainer")
        assert short != script
        exec(compile(short, "README.md", "exec"), seen)
    result = seen["result"]
    assert result.folder == tmp_path / "outputs" / "mine"
    written = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    accuracy = result.metrics["test/accuracy"]
    assert accuracy.value == written["metrics"]["test/accuracy"]["value"]
    assert accuracy.n == 64  # two batches of 32: trainer=smoke
    n_train = len(seen["datamodule"].rows("train"))
    assert seen["trainer"].global_step == -(-n_train // 32)  # the last batch is smaller
