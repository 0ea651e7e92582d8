"""Names that follow from a sweep's overrides: of the sweep, and of its jobs' folders."""

import re
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cxr_lightning.sweeps.plan import LONGEST_BYTES, job_name, quoted, sweep_name


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model": "resnet18", "augment": "none"}, "model-resnet18_augment-none"),
        ({"seed": "2"}, "seed-2"),
        ({"optim.lr": "1e-05"}, "optim.lr-1e-05"),
        ({"augment.rotate.degrees": "[0, 20]"}, "augment.rotate.degrees--0-20"),
        ({"data.root": "'/größe/x=y'"}, "data.root--größe-x-y"),
        ({}, "run"),
    ],
)
def test_a_job_is_named_after_its_values_without_an_equals_sign(
    values: dict[str, str], expected: str
) -> None:
    assert job_name(values) == expected


def test_a_name_longer_than_a_file_system_allows_gets_a_hash() -> None:
    names = [job_name({"data.root": f"/{'흉부' * 60}/{i}"}) for i in (1, 2)]
    assert all(len(name.encode()) <= LONGEST_BYTES + 7 for name in names)
    assert names[0].startswith("data.root--흉부흉부")
    assert names[0] != names[1] and re.fullmatch(r".*-[0-9a-f]{6}", names[0])
    assert names[0] == job_name({"data.root": f"/{'흉부' * 60}/1"})


def name_of(*words: str) -> str:
    return sweep_name(OverridesParser.create().parse_overrides(list(words)))


def test_the_same_sweep_has_the_same_name_in_any_order() -> None:
    given = ["model=cnn5,resnet18", "optim.lr=0.01", "seed=0,1"]
    assert re.fullmatch(r"model_seed-[0-9a-f]{6}", name_of(*given))
    assert name_of("optim.lr=0.01", *given[::2]) == name_of(*given)
    assert name_of(*given, "folder=/elsewhere") == name_of(*given)


def test_another_sweep_has_another_name() -> None:
    fixed: list[list[str]] = [[], ["optim.lr=0.01"], ["optim.lr=0.1"], ["data=kaggle"]]
    names = [name_of("seed=0,1", *more) for more in fixed] + [name_of("seed=0,1,2")]
    assert len(set(names)) == 5
    assert all(name.startswith("seed-") for name in names)


def test_a_key_goes_by_its_last_part_and_a_sweep_of_one_job_has_a_name_too() -> None:
    assert re.fullmatch(r"lr_x-[0-9a-f]{6}", name_of("optim.lr=0.1,0.2", "+trainer.x=1,2"))
    assert re.fullmatch(r"sweep-[0-9a-f]{6}", name_of("optim.lr=0.1"))


@pytest.mark.parametrize(
    "value",
    [
        *("it's", 'a "b"', "a b, (c) [d]", "x=y", "größe", "~", "null", "1"),
        *(r"a\b", r"a\\b", r"it\'s", "end\\", r"C:\outputs\it's"),
        {"val/f1_macro": "maximize", "val/recall/TUBERCULOSIS": "maximize"},
        {"_target_": "optuna.pruners.MedianPruner", "n": 5, "share": 0.1, "on": True},
        {"storage": "postgresql://me:it's, {a} (secret)=?@host/db", "inner": {}},
        {"storage": "sqlite:///C:\\sweeps\\study.db", "wrapped": None},
    ],
)
def test_any_value_is_read_back_by_hydra_as_it_was(value: Any) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(value)}"])
    read = override.value()
    assert (str(read) if isinstance(value, str) else read) == value
