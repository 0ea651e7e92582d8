"""Ways to train, in whole runs: averaged weights, frozen bodies, mixed images, a probe, a soup."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_runs import CHECKPOINTS_ONLY, LEARNING, SUM_TEST, read_json, weights

from cxr_lightning import assemble, trainers
from cxr_lightning.callbacks.batch_norm import measure_again
from cxr_lightning.config import TrainConfig, parse
from cxr_lightning.errors import ConfigError
from cxr_lightning.train import TrainResult

Run = Callable[..., TrainResult]
TestOf = Callable[..., TrainResult]
Composed = Callable[..., DictConfig]

SHORT = [*CHECKPOINTS_ONLY, *LEARNING, "trainer.max_epochs=2", "model=cnn5_bn", "seed=3"]
ALL_TRAIN = ["split.val_fraction=0", "test_checkpoint=last"]


class CutOffError(Exception):
    """In place of a pulled plug."""


class CutOff(Callback):
    """Ends the run at the start of its third epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise CutOffError


def accuracy(result: TrainResult) -> float:
    value = result.metrics["test/accuracy"].value
    assert value is not None
    return value


def f1_macro(result: TrainResult) -> float:
    value = result.metrics["test/f1_macro"].value
    assert value is not None
    return value


@pytest.mark.parametrize("more", [[], ALL_TRAIN])
def test_of_averaged_weights_those_of_the_average_are_measured(
    more: list[str], run: Run, tmp_path: Path, settings: list[str], composed: Composed
) -> None:
    words = [*SHORT, *more, "callbacks=[default,ema,batch_norm]", "callbacks.ema.decay=0.5"]
    run(tmp_path, *words)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    config = parse(TrainConfig, composed("train", *settings, *SHORT, *more))
    datamodule = assemble.build_datamodule(config)
    classifier = assemble.build_classifier(config, datamodule)
    classifier.load_state_dict(saved["state_dict"])
    measure_again(classifier.network, (batch.image for batch in datamodule.train_dataloader()))
    n_compared = 0
    for name, value in classifier.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, saved["state_dict"][name])
            assert not torch.allclose(value, saved["current_model_state"][name])
            n_compared += 1
    assert n_compared == 6


def test_the_average_is_what_is_validated_saved_and_tested(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    words = [*SHORT, "callbacks=[default,ema]", "callbacks.ema.decay=0.9", "test_checkpoint=last"]
    tested = run(tmp_path / "run", *words)
    file = tmp_path / "run/checkpoints/last.ckpt"
    content = torch.load(file, weights_only=True)
    name = "network.backbone.head.weight"
    assert not torch.allclose(content["state_dict"][name], content["current_model_state"][name])
    again = test_of(file, tmp_path / "again")
    assert again.metrics == tested.metrics
    val = test_of(file, tmp_path / "val", "subset=val")
    curve = pd.read_csv(tmp_path / "run/curves.csv")["val/f1_macro"]
    assert f1_macro(val) == pytest.approx(curve.iloc[-1])


@pytest.mark.parametrize(
    "options",
    [
        ["callbacks=[default,ema,batch_norm]"],
        ["callbacks=[default,ema]"],
        ["callbacks=[default,batch_norm]"],
        ["augment=[standard,photometric,mixup,cutmix]", "data.train_sizes=[16,32]"],
        ["optim=adamw_cosine", "optim.layer_decay=0.8", "imbalance=ldam_drw"],
    ],
    ids="-".join,
)
def test_a_resumed_run_is_the_same(options: list[str], run: Run, tmp_path: Path) -> None:
    words = [*SHORT, "trainer.max_epochs=3", "test_checkpoint=last", *options]
    run(tmp_path / "whole", *words)
    build = trainers.build_callbacks
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CutOffError):
        patch.setattr(trainers, "build_callbacks", lambda config: [*build(config), CutOff()])
        run(tmp_path / "cut", *words)
    run(tmp_path / "cut", *words)
    whole, resumed = (weights(tmp_path / n / "checkpoints/last.ckpt") for n in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    curves = [(tmp_path / n / "curves.csv").read_text() for n in ("whole", "cut")]
    assert curves[0] == curves[1]


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


@pytest.mark.parametrize(
    "words",
    [
        ["augment=[mixup]"],
        ["augment=[cutmix]", "imbalance=focal"],
        ["augment=[mixup]", "imbalance=ldam_drw"],
        ["imbalance=effective_number", "optim=sgd_cosine"],
        ["data.train_sizes=[16,32]", "optim=adamw_cosine", "optim.layer_decay=0.9"],
        ["data.contrast=stretch", "augment=photometric"],
        ["callbacks=[default,ema,batch_norm]", "callbacks.ema.decay=0.9"],
        ["model=resnet18_narrow", "model.network.width=8"],
    ],
    ids="-".join,
)
def test_each_option_learns_the_stripes(words: list[str], run: Run, tmp_path: Path) -> None:
    learning = [*CHECKPOINTS_ONLY, *LEARNING, "model=cnn5_bn", "test_checkpoint=last", "seed=1"]
    result = run(
        tmp_path, *learning, "trainer.max_epochs=10", "callbacks.early_stopping=null", *words
    )
    assert accuracy(result) > 0.8  # always the largest class: 8 of 23


def test_a_loss_that_knows_no_shares_is_refused_with_mixed_images(run: Run, tmp_path: Path) -> None:
    loss = "imbalance.loss._target_=torch.nn.MultiMarginLoss"
    run(tmp_path / "a", *SHORT, loss)
    with pytest.raises(ConfigError, match="shares of the classes"):
        run(tmp_path / "b", *SHORT, loss, "augment=[mixup]")


def test_a_network_of_one_size_is_refused_other_sizes(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot process a batch of shape \(2, 1, 16, 16\)"):
        run(tmp_path, *SHORT, "model=cnn5", "data.train_sizes=[16,32]")


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


def test_a_soup_is_the_mean_of_the_best_checkpoints(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    words = [*SHORT, "trainer.max_epochs=4", "callbacks=[default,soup]", "test_checkpoint=soup"]
    result = run(tmp_path / "run", *words, *CHECKPOINTS_ONLY, "callbacks.best.save_top_k=3")
    folder = tmp_path / "run/checkpoints"
    kept = [weights(file) for file in folder.glob("best-*.ckpt")]
    assert len(kept) == 3
    name = "network.backbone.head.weight"
    mean = torch.stack([state[name] for state in kept]).mean(dim=0)
    torch.testing.assert_close(weights(folder / "soup.ckpt")[name], mean)
    assert test_of(folder / "soup.ckpt", tmp_path / "again").metrics == result.metrics
    written = read_json(tmp_path / "run/metrics.json")
    assert written["tested"] == {"checkpoint": "soup.ckpt", "epoch": None}
    val = test_of(folder / "soup.ckpt", tmp_path / "val", "subset=val")
    assert written["validation"]["val/f1_macro"] == pytest.approx(f1_macro(val))


def test_several_checkpoints_are_evaluated_as_one(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    for seed in (0, 1):
        run(tmp_path / f"run{seed}", *SHORT, f"seed={seed}")
    files = [tmp_path / f"run{seed}/checkpoints/best.ckpt" for seed in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    test_of(files[0], tmp_path / "both", f"ckpt_path={listed}")
    columns = ["COVID19", "NORMAL", "PNEUMONIA", "TUBERCULOSIS"]
    one, two, both = (
        pd.read_csv(tmp_path / n / "predictions.csv").sort_values("path", ignore_index=True)[
            columns
        ]
        for n in ("run0", "run1", "both")
    )
    assert len(both) == SUM_TEST
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)


def test_what_one_was_trained_on_another_is_not_tested_on(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    for fold in (0, 1):
        run(tmp_path / f"run{fold}", *SHORT, "split=kfold", f"split.fold={fold}")
    files = [tmp_path / f"run{fold}/checkpoints/best.ckpt" for fold in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    with pytest.raises(ConfigError, match=r"split\.fold is 0 in .*, but 1 in"):
        test_of(files[0], tmp_path / "both", f"ckpt_path={listed}")


def test_tau_and_thresholds_come_from_the_validation_images(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    run(tmp_path / "run", *SHORT)
    file = tmp_path / "run/checkpoints/best.ckpt"
    test_of(file, tmp_path / "plain")
    test_of(file, tmp_path / "shifted", "tau=val", "thresholds=val")
    decision = read_json(tmp_path / "shifted/metrics.json")["decision"]
    assert decision["chosen_on"]["split"] == "val"
    assert 0 <= decision["tau"] <= 3
    columns = list(decision["class_weights"])
    plain, shifted = (
        pd.read_csv(tmp_path / n / "predictions.csv").sort_values("path")[columns].to_numpy()
        for n in ("plain", "shifted")
    )
    weighted = plain * np.array(list(decision["class_weights"].values()))
    np.testing.assert_allclose(
        shifted, weighted / weighted.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5
    )
    run(tmp_path / "all", *SHORT, *ALL_TRAIN)
    with pytest.raises(ConfigError, match="has none"):
        test_of(tmp_path / "all/checkpoints/last.ckpt", tmp_path / "x", "tau=val")


@pytest.mark.parametrize("tested", ["best", "last", "soup"])
def test_of_averaged_weights_the_average_is_tested(
    tested: str, run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    callbacks = "callbacks=[default,soup,ema]" if tested == "soup" else "callbacks=[default,ema]"
    words = [*SHORT, "trainer.max_epochs=4", callbacks, "callbacks.ema.decay=0.97"]
    first = run(tmp_path / "run", *words, f"test_checkpoint={tested}")
    name = read_json(tmp_path / "run/metrics.json")["tested"]["checkpoint"]
    files = {"last": "last.ckpt", "soup": "soup.ckpt"}
    file = tmp_path / "run/checkpoints" / files.get(tested, name)
    assert test_of(file, tmp_path / "again").metrics == first.metrics
    # Cut off in its test, the run has the same numbers when it is resumed.
    (tmp_path / "run/metrics.json").unlink()
    assert run(tmp_path / "run", *words, f"test_checkpoint={tested}").metrics == first.metrics


def test_the_average_of_a_short_training_has_forgotten_its_start(run: Run, tmp_path: Path) -> None:
    words = [*CHECKPOINTS_ONLY, *LEARNING, "model=cnn5_bn", "test_checkpoint=last", "seed=1"]
    result = run(tmp_path, *words, "trainer.max_epochs=10", "callbacks=[default,ema]")
    assert accuracy(result) > 0.8  # 90 steps: .998^90 would leave 84% of the first weights


def test_what_is_chosen_on_validation_images_is_not_measured_on_them(
    run: Run, test_of: TestOf, tmp_path: Path
) -> None:
    run(tmp_path / "run", *SHORT)
    file = tmp_path / "run/checkpoints/best.ckpt"
    for subset in ("val", "all"):
        with pytest.raises(ConfigError, match="Leave subset out"):
            test_of(file, tmp_path / subset, "thresholds=val", f"subset={subset}")


def test_members_of_other_folds_do_not_share_validation_images(
    run: Run, test_of: TestOf, tmp_path: Path, images: Path
) -> None:
    for fold in (0, 1):
        run(tmp_path / f"run{fold}", *SHORT, "split=kfold", f"split.fold={fold}")
    files = [tmp_path / f"run{fold}/checkpoints/best.ckpt" for fold in (0, 1)]
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    other = ["data=folder", f"data.root='{images}'", f"ckpt_path={listed}"]
    test_of(files[0], tmp_path / "both", *other)  # nothing is chosen: any images may be tested
    with pytest.raises(ConfigError, match=r"split\.fold is 0 in"):
        test_of(files[0], tmp_path / "x", *other, "tau=val")


@pytest.mark.parametrize("given", ["split.seed=7", "data.group_pattern=null", "split=pooled"])
def test_a_start_that_has_seen_test_images_is_refused(given: str, run: Run, tmp_path: Path) -> None:
    run(tmp_path / "first", *SHORT, "split=kfold")
    start = f"ckpt_path='{tmp_path}/first/checkpoints/best.ckpt'"
    run(tmp_path / "same", *SHORT, "split=kfold", start, "split.val_fraction=0.3")
    with pytest.raises(ConfigError, match="images that it has seen may be tested"):
        run(tmp_path / "other", *SHORT, "split=kfold", start, given)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data.train_sizes=[16,24]"], r"data\.train_sizes: .*must be data\.image_size=32"),
        (["data.train_sizes=[48,32]"], r"data\.train_sizes: .*must be data\.image_size=32"),
        (["callbacks=[soup,default]"], "several checkpoints under one name"),
        (["callbacks=soup"], r"callbacks\.best has settings, but"),
        (["test_checkpoint=soup"], "needs several checkpoints"),
        (
            ["callbacks=[default,soup]", "test_checkpoint=soup", "split.val_fraction=0"],
            "needs several checkpoints",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_work_is_refused_before_the_training(
    words: list[str], sentence: str, run: Run, tmp_path: Path
) -> None:
    short = [word for word in SHORT if not word.startswith("callbacks.")]
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path, *short, *words)
    assert not (tmp_path / "checkpoints").exists()


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
