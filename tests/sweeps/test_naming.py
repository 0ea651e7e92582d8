"""Names that follow from the command line: of a sweep, and of its jobs' folders."""

import re
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cxr_lightning.sweeps.naming import (
    job_name,
    readable,
    run_name,
    swept_keys,
    values_of,
    words_about_runs,
)


@pytest.mark.parametrize(
    ("typed", "of_the_job", "expected"),
    [
        (
            ["model=cnn5,resnet18", "augment=none,standard", "data.root='/x=y'"],
            ["model=resnet18", "augment=none", "data.root='/x=y'"],
            "model-resnet18_augment-none",
        ),
        (["seed=range(0,3)"], ["seed=2"], "seed-2"),
        (["optim.lr=choice(1e-3,1e-4)"], ["optim.lr=0.0001"], "optim.lr-0.0001"),
        (["+trainer.x=1,2"], ["+trainer.x=1"], "trainer.x-1"),
        (["data.root=/a/b,/c/d"], ["data.root=/c/d"], "data.root--c-d"),
        (["seed=3"], ["seed=3"], "run"),
    ],
)
def test_a_name_has_the_swept_keys_and_no_equals_sign(
    typed: list[str], of_the_job: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cxr-train", "-m", *typed])
    name = job_name(of_the_job)
    assert name == expected
    assert "=" not in name and "/" not in name


def test_a_name_tells_keys_of_the_sweepers_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cxr-train", "-m", "seed=1"])
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    hydra = OmegaConf.create({"sweeper": {"params": {"model": "cnn5,plain18"}}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    assert job_name(["model=plain18", "seed=1"]) == "model-plain18"


def test_a_jobs_values_are_those_of_the_swept_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["-m", "seed=0,1", "+trainer.x=1,2", "model=cnn5", "~callbacks.progress"]
    monkeypatch.setattr(sys, "argv", ["cxr-train", *typed])
    given = ["+trainer.x=2", "model=cnn5", "seed=1", "~callbacks.progress"]
    assert values_of(given, swept_keys()) == {"trainer.x": "2", "seed": "1"}


def test_an_override_is_readable_in_a_path() -> None:
    assert readable("augment.rotate.degrees=[0, 20]") == "augment.rotate.degrees--0-20"
    assert readable("optim.lr=1e-05") == "optim.lr-1e-05"
    assert readable("data.root='/größe/x y'") == "data.root--größe-x-y"


# --- the sweep's own name ------------------------------------------------------------------------


def name_of(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["/anywhere/cxr-train", *arguments])
    return run_name()


def test_the_same_sweep_has_the_same_name_however_it_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = ["model=cnn5,resnet18", "optim.lr=0.01", "seed=0,1"]
    name = name_of("-m", *given, monkeypatch=monkeypatch)
    assert re.fullmatch(r"model_seed-[0-9a-f]{6}", name)
    swept_later = ["optim.lr=0.01", *given[::2]]
    parallel = ["hydra/launcher=processes", "hydra.launcher.n_jobs=4"]
    for again in (
        ["--multirun", *given],
        [*given, "-m"],
        ["-m", *swept_later],
        ["-m", *given, *parallel],
        ["hydra.mode=MULTIRUN", *given],
    ):
        assert name_of(*again, monkeypatch=monkeypatch) == name, again


def test_another_sweep_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        name_of("-m", "seed=0,1", *more, monkeypatch=monkeypatch)
        for more in ([], ["optim.lr=0.01"], ["optim.lr=0.1"], ["data=kaggle"])
    ]
    names.append(name_of("-m", "seed=0,1,2", monkeypatch=monkeypatch))
    assert len(set(names)) == 5
    assert all(name.startswith("seed-") for name in names)


def test_a_key_goes_by_its_last_word_and_a_sweep_of_one_job_has_a_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lr = name_of("-m", "optim.lr=0.1,0.2", "+trainer.x=1,2", monkeypatch=monkeypatch)
    assert re.fullmatch(r"lr_x-[0-9a-f]{6}", lr)
    one = name_of("-m", "optim.lr=0.1", monkeypatch=monkeypatch)
    assert re.fullmatch(r"sweep-[0-9a-f]{6}", one)


def test_a_single_run_is_named_after_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of("model=cnn5", "seed=0", monkeypatch=monkeypatch)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", name)


def test_words_about_runs_leave_out_how_and_where_they_are_run() -> None:
    command = ["cxr-train", "-m", "seed=0", "hydra.verbose=true", "hydra/launcher=x", "name=a"]
    assert words_about_runs([*command, "model.name=b"]) == ["seed=0", "model.name=b"]


def test_an_options_value_is_no_word_about_runs() -> None:
    options = ["--config-dir", "mine", "-cn", "own", "--config-path=x", "-m"]
    assert words_about_runs(["cxr-train", *options, "seed=0,1"]) == ["seed=0,1"]
