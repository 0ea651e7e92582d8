"""Runs that start from what is there: frozen bodies, a new head, a probe, a refused start."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_runs import (
    CHECKPOINTS_ONLY,
    SHORT,
    accuracy,
    weights,
)

from cxr_lightning import assemble
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.train import TrainResult
from cxr_lightning.trained import check_start

Run = Callable[..., TrainResult]
TestOf = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]


def test_a_frozen_body_keeps_its_weights_until_it_is_unfrozen(run: Run, tmp_path: Path) -> None:
    first = run(tmp_path / "first", *SHORT)
    start = first.folder / "checkpoints/last.ckpt"
    words = [*SHORT, f"ckpt_path='{start}'", "callbacks=[default,frozen_body]"]
    run(tmp_path / "frozen", *words, "callbacks.frozen_body.unfreeze_at_epoch=null")
    run(tmp_path / "unfrozen", *words, "callbacks.frozen_body.unfreeze_at_epoch=1")
    before = weights(start)
    frozen, unfrozen = (
        weights(tmp_path / n / "checkpoints/last.ckpt") for n in ("frozen", "unfrozen")
    )
    body = [name for name in before if "backbone.features" in name]
    assert all(torch.equal(before[name], frozen[name]) for name in body)  # also the statistics
    assert not torch.equal(
        before["network.backbone.head.weight"], frozen["network.backbone.head.weight"]
    )
    assert not any(torch.equal(before[n], unfrozen[n]) for n in body if before[n].ndim > 1)


def test_classifier_retraining_starts_a_new_head_on_an_old_body(run: Run, tmp_path: Path) -> None:
    first = run(tmp_path / "first", *SHORT, "trainer.max_epochs=6")
    start = first.folder / "checkpoints/last.ckpt"
    again = run(
        tmp_path / "crt",
        "experiment=crt",
        *CHECKPOINTS_ONLY,
        "model=cnn5_bn",
        f"ckpt_path='{start}'",
        "optim.lr=0.01",
        "data.batch_size=8",
    )
    before, after = weights(start), weights(again.folder / "checkpoints/last.ckpt")
    body = [name for name in before if "backbone.features" in name]
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert accuracy(again) > 0.5  # chance is 8 of 23


def test_a_probe_is_a_logistic_regression_on_frozen_features(
    run: Run, tmp_path: Path, settings: list[str], composed: Composed
) -> None:
    probe = ["experiment=probe", "model=cnn5_bn", "model.weights=null", "model.network.grid=2"]
    words = [*probe, *CHECKPOINTS_ONLY, "data.batch_size=16", "callbacks.probe.strength=1.0"]
    result = run(tmp_path, *words)
    config = parse(TrainConfig, composed("train", *settings, *words))
    torch.manual_seed(0)
    datamodule = assemble.build_datamodule(config)
    datamodule.setup()
    classifier = assemble.build_classifier(config, datamodule)
    classifier.load_state_dict(weights(tmp_path / "checkpoints/last.ckpt"))
    backbone = classifier.network.eval().backbone

    def hidden(split: str) -> np.ndarray:
        images = torch.stack(
            [datamodule.dataset(split)[i].image for i in range(len(datamodule.rows(split)))]
        )
        with torch.inference_mode():
            x = backbone.features(classifier.network.preprocess(images)).flatten(1)
            return np.asarray(backbone.hidden(x).relu())

    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    reference.fit(hidden("train"), datamodule.dataset("train").labels)
    expected = reference.predict_proba(hidden("test"))
    table = pd.read_csv(tmp_path / "predictions.csv")
    np.testing.assert_allclose(table[list(datamodule.classes)], expected, atol=2e-3)
    assert len(list((Path(config.data.cache_dir) / "features").glob("*.npy"))) >= 1
    assert run(tmp_path / "again", *words).metrics == result.metrics


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["imbalance=class_weights"], "imbalance=class_weights would change nothing"),
        (["imbalance=balanced_sampler"], "imbalance=balanced_sampler would change nothing"),
        (["callbacks=[default,ema,probe]"], "no weights to average"),
    ],
)
def test_a_probe_refuses_what_it_would_ignore(
    words: list[str], sentence: str, run: Run, tmp_path: Path
) -> None:
    probe = ["experiment=probe", "model=cnn5_bn", "model.weights=null", *CHECKPOINTS_ONLY]
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path, *probe, *words)


@pytest.mark.parametrize("given", ["split.seed=7", "data.group_pattern=null", "split=pooled"])
def test_a_start_that_has_seen_test_images_is_refused(given: str, run: Run, tmp_path: Path) -> None:
    run(tmp_path / "first", *SHORT, "split=kfold")
    start = f"ckpt_path='{tmp_path}/first/checkpoints/best.ckpt'"
    run(tmp_path / "same", *SHORT, "split=kfold", start, "split.val_fraction=0.3")
    with pytest.raises(ConfigError, match="images that it has seen may be tested"):
        run(tmp_path / "other", *SHORT, "split=kfold", start, given)


def test_a_start_that_read_images_in_another_way_is_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "first", *SHORT, "data.contrast=stretch")
    start = tmp_path / "first/checkpoints/best.ckpt"
    run(tmp_path / "other", *SHORT, f"ckpt_path='{start}'")
    said = capsys.readouterr().out
    assert f"The weights of {start} are of data.contrast=stretch; here it is none." in said


def test_with_the_official_split_other_classes_and_patients_may_follow(
    run: Run, tmp_path: Path, settings: list[str], composed: Composed
) -> None:
    """The folders say what is tested, whatever the classes and patients are."""
    run(tmp_path / "first", *SHORT)
    start = f"ckpt_path='{tmp_path}/first/checkpoints/best.ckpt'"
    others = ["~data.classes.COVID19", "data.group_pattern=null", "split.seed=5"]
    check_start(parse(TrainConfig, composed("train", *settings, *SHORT, start, *others)))
    with pytest.raises(ConfigError, match="may be tested"):
        check_start(parse(TrainConfig, composed("train", *settings, *SHORT, start, "split=pooled")))
