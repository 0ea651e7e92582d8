"""cxr-export: a file gives the checkpoint's probabilities, or is not kept."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning import Trainer
from torch import Tensor
from written_runs import bare_run

from cxr_lightning import export, predict
from cxr_lightning.deploy.checks import check_same
from cxr_lightning.deploy.films import Films
from cxr_lightning.errors import CheckpointError, ConfigError, DataError
from cxr_lightning.models.classifier import Classifier

CLASSES = ["COVID19", "NORMAL", "TUBERCULOSIS"]
SIZE_PX, TEMPERATURE = 32, 0.5
Composed = Callable[..., DictConfig]
BACKBONES = "cxr_lightning.models.backbones"
NETWORKS: dict[str, dict[str, Any]] = {
    "cnn5": {"_target_": f"{BACKBONES}.CNN5"},
    "resnet18_narrow": {"_target_": f"{BACKBONES}.NarrowResNet18", "width": 16},
    "efficientnet": {"_target_": "timm.create_model", "model_name": "efficientnet_lite0"},
}


@pytest.fixture
def checkpoint(composed: Composed, tmp_path: Path) -> Callable[..., Path]:
    """`checkpoint("cnn5")`: of a network that tells images apart, with its temperature."""

    def write(name: str = "cnn5", seed: int = 0, contrast: str = "none") -> Path:
        from cxr_lightning.config import TrainConfig, parse

        size, reading = f"data.image_size={SIZE_PX}", f"data.contrast={contrast}"
        config = parse(TrainConfig, composed("train", size, reading))
        torch.manual_seed(seed)
        classifier = Classifier(
            network={"node": NETWORKS[name], "image_size": SIZE_PX, "channels": 1},
            classes=CLASSES,
            class_counts=[3, 5, 3],
            imbalance=config.imbalance.model_dump(),
            optim=config.optim.model_dump(),
            run=config.model_dump(mode="json"),
        )
        *_, last = (m for m in classifier.modules() if isinstance(m, torch.nn.Linear))
        last.weight.data.mul_(20)
        trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.strategy.connect(classifier)
        file = tmp_path / f"{name}-{seed}.ckpt"
        trainer.save_checkpoint(file)
        content = torch.load(file, weights_only=True)
        torch.save(content | {"calibration": {"temperature": TEMPERATURE}}, file)
        return file

    return write


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(7):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 40 * (number + 1), (5, 5)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((48, 40)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def exported(composed: Composed, tmp_path: Path) -> Callable[..., Path]:
    """`exported(checkpoint, …)`: the folder that cxr-export fills."""

    def start(file: Path | str, *words: str) -> Path:
        folder = tmp_path / "exported"
        given = [f"ckpt_path={file}", f"folder='{folder}'", "batch_size=4", *words]
        export.run(composed("export", *given))
        return folder

    return start


def outputs(folder: Path, images: Tensor) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "model.onnx")
    program = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        in_torch = program(images).numpy()
    return {"onnx": session.run(None, {"image": images.numpy()})[0], "torch": in_torch}


def noise(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(256, (n, 1, SIZE_PX, SIZE_PX), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_files_give_the_calibrated_probabilities_for_any_batch(
    name: str, checkpoint: Callable[..., Path], exported: Callable[..., Path], films: Path
) -> None:
    pytest.importorskip("onnxscript")
    if name == "efficientnet":
        pytest.importorskip("timm")
    from cxr_lightning.trained import load_classifier

    file = checkpoint(name)
    folder = exported(file, f"input='{films}'")
    classifier = load_classifier(file).eval()
    for n in (1, 3, 8):
        with torch.no_grad():
            expected = torch.softmax(classifier(noise(n)) / TEMPERATURE, dim=1).numpy()
        for found in outputs(folder, noise(n)).values():
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-4)
    told = json.loads((folder / "model.json").read_text())["exported"]
    for file_name in ("model.onnx", "model.pt2"):
        assert told[file_name]["check"]["n"] == 7
        assert told[file_name]["check"]["largest_difference"] < 1e-4
        assert [speed["batch_size"] for speed in told[file_name]["speed"]] == [1, 4]
        for speed in told[file_name]["speed"]:
            ratio = speed["exported_images_per_s"] / speed["torch_images_per_s"]
            assert speed["ratio"] == pytest.approx(ratio)


def test_several_networks_and_views_are_one_file_that_predicts_as_cxr_predict(
    checkpoint: Callable[..., Path],
    exported: Callable[..., Path],
    composed: Composed,
    films: Path,
    tmp_path: Path,
) -> None:
    import pandas as pd

    pytest.importorskip("onnxscript")
    from cxr_lightning.data.decode import decode

    both = f"[{checkpoint('cnn5')},{checkpoint('resnet18_narrow')}]"
    words = ["tta=flip_zoom", "tau=0.5", f"input='{films}'"]
    folder = exported(both, *words)
    csv = tmp_path / "predicted.csv"
    given = [f"ckpt_path={both}", f"output='{csv}'", f"folder='{tmp_path}'", "num_workers=0"]
    predict.run(composed("predict", *given, *words, "trainer.precision=32-true"))
    table = pd.read_csv(csv)
    images = [torch.tensor(decode(films / path, SIZE_PX))[None] for path in table["path"]]
    assert table[CLASSES].nunique().min() > 1
    for found in outputs(folder, torch.stack(images)).values():
        np.testing.assert_allclose(found, table[CLASSES], atol=1e-4)
    network = json.loads((folder / "model.json").read_text())
    assert network["calibration"]["temperatures"] == [TEMPERATURE, TEMPERATURE]
    assert (network["network"]["tta"], network["network"]["tau"]) == ("flip_zoom", 0.5)


def test_the_metadata_says_how_films_are_read_in_the_file_and_beside_it(
    checkpoint: Callable[..., Path], exported: Callable[..., Path]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    folder = exported(checkpoint(contrast="stretch"), "n_images=5", "calibrate=false")
    beside = json.loads((folder / "model.json").read_text())
    assert beside.pop("exported")["model.onnx"]["check"]["films"].startswith("phantoms")
    assert beside["classes"] == CLASSES
    assert beside["input"]["shape"] == ["batch", 1, SIZE_PX, SIZE_PX]
    reading = beside["reading"]
    assert (reading["size_px"], reading["contrast"], reading["white"]) == (SIZE_PX, "stretch", None)
    assert "bilinear" in reading["resize"].lower()
    assert beside["calibration"]["temperatures"] == []
    session = runtime.InferenceSession(folder / "model.onnx")
    inside = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(inside[key]) for key in beside} == beside
    assert session.get_inputs()[0].shape == ["batch", 1, SIZE_PX, SIZE_PX]
    extra = {"metadata.json": ""}
    torch.export.load(folder / "model.pt2", extra_files=extra)
    assert json.loads(extra["metadata.json"]) == beside


def test_a_file_that_differs_is_not_kept(
    checkpoint: Callable[..., Path],
    exported: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from cxr_lightning.deploy import formats

    def wrong(file: Path) -> Any:
        right = formats.torch_runner(file)
        return lambda images: right(images) + np.float32(2e-4)

    monkeypatch.setitem(formats.RUNNERS, "torch", wrong)
    with pytest.raises(CheckpointError, match=r"model\.pt2 is not kept: .* 3 of 3 films \(0 dec"):
        exported(checkpoint(), "formats=[torch]", "n_images=3")
    assert list((tmp_path / "exported").iterdir()) == []


def test_another_decision_or_no_number_is_a_difference() -> None:
    films = Films(noise(2).numpy(), ["a", "b"], "films")
    expected = np.array([[0.50001, 0.49999], [0.9, 0.1]])
    other = np.array([[0.49999, 0.50001], [0.9, 0.1]], dtype=np.float32)  # 2e-5 off
    with pytest.raises(CheckpointError, match=r"1 of 2 films \(1 decisions\)"):
        check_same(expected, other, films, "model.onnx")
    nan = np.array([[0.50001, 0.49999], [np.nan, np.nan]], dtype=np.float32)
    with pytest.raises(CheckpointError, match="on b, where"):
        check_same(expected, nan, films, "model.onnx")
    near = (expected + np.array([[5e-5, -5e-5], [0, 0]])).astype(np.float32)
    same = check_same(expected, near, films, "model.onnx")
    assert same.largest_difference == pytest.approx(5e-5, rel=1e-2)


def test_a_missing_library_and_films_that_nobody_can_read_are_sentences(
    checkpoint: Callable[..., Path],
    exported: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.png").write_text("not an image")
    with pytest.raises(DataError, match=r"None of the 1 images at .*broken.png \(input\)"):
        exported(checkpoint(), "formats=[torch]", f"input='{tmp_path / 'broken.png'}'")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"needs onnx: pip install 'cxr-lightning\[export\]'"):
        exported(checkpoint(), "formats=[onnx]")
    folder = exported(checkpoint(), "formats=[torch]", "n_images=2")
    assert {file.name for file in folder.iterdir()} == {"model.pt2", "model.json"}


def test_the_runs_card_lies_beside_the_network_that_it_tested(
    checkpoint: Callable[..., Path],
    exported: Callable[..., Path],
    films: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = bare_run(tmp_path / "run")  # which tested `last`
    before = sorted(run.iterdir())
    (run / "checkpoints").mkdir()
    for name in ("last", "best"):
        shutil.copy(checkpoint(), run / "checkpoints" / f"{name}.ckpt")
    given = (f"input='{films}'", "formats=[torch]", "batch_size=1")
    for file, *more in (("best",), ("last", "tta=flip"), ("last", "tau=1")):
        folder = exported(run / "checkpoints" / f"{file}.ckpt", *given, *more)
        assert not (folder / "model_card.md").exists()
        assert "No model card: no run in the checkpoint's folder has tested" in " ".join(
            capsys.readouterr().out.split()
        )
    folder = exported(run / "checkpoints" / "last.ckpt", *given)
    assert "Accuracy 90.0% (55.5–99.7)" in (folder / "model_card.md").read_text(encoding="utf-8")
    assert "CLAIM 2024" in (folder / "claim.md").read_text(encoding="utf-8")
    assert sorted(p for p in run.iterdir() if p.name != "checkpoints") == before
    (run / "run.json").write_text("{", encoding="utf-8")
    exported(run / "checkpoints" / "last.ckpt", *given)
    assert "No model card: " in capsys.readouterr().out
