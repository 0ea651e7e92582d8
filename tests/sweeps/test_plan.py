"""sweep.json: the jobs of a sweep, kept from one start of the command to the next."""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from cxr_lightning.cli import run_command
from cxr_lightning.errors import ConfigError, DataError
from cxr_lightning.runs.folder import failure, job_state, refuse
from cxr_lightning.sweeps.plan import (
    Job,
    Plan,
    add_job,
    grid,
    read_plan,
    seconds_left,
    swept_keys,
    write_plan,
)


def plan_of(*jobs: dict[str, str], fixed: list[str] | None = None, search: bool = False) -> Plan:
    named = [Job("_".join(f"{k}-{v}" for k, v in values.items()), values) for values in jobs]
    return Plan(search, "cxr-train -m typed", fixed or [], list(jobs[0]), len(jobs), named)


def parsed(*words: str) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))


SEEDS = plan_of({"seed": "0"}, {"seed": "1"}, fixed=["model=cnn5"])


@pytest.fixture
def clean() -> Iterator[None]:
    """Puts back what a command in this process changes."""
    hydra_state, handlers = Singleton.get_state(), logging.root.handlers[:]
    full_error = os.environ.pop("HYDRA_FULL_ERROR", None)
    signals = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    os.environ.pop("HYDRA_FULL_ERROR", None)
    if full_error is not None:
        os.environ["HYDRA_FULL_ERROR"] = full_error
    Singleton.set_state(hydra_state)
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    for number, handler in signals.items():
        signal.signal(number, handler)


SWEEPER = "hydra: {sweeper: {params: {seed: '0,1', optim.lr: '0.1,0.2'}}}"
OWN = ["--config-dir=.", "--config-name=own"]


@pytest.mark.parametrize(
    "words",
    [
        ["seed=0,1", "model=cnn5,resnet18", "optim.lr=0.01"],
        ["model=choice(cnn5,plain18)", "+trainer.x=1", "seed=range(0,2)", "~callbacks.progress"],
        ["data.root='a,b','c d'", "+trainer.x=1,2"],
        ["seed=3"],
        [*OWN, "optim.lr=0.3"],  # beats the file's
    ],
)
def test_the_plan_is_what_hydra_runs_in_its_order(
    words: list[str], clean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, list[str]]] = []

    def run(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        ran.append((Path(hydra.runtime.output_dir).name, list(hydra.overrides.task)))

    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(f"defaults: [train, _self_]\n{SWEEPER}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["cxr-train", *words, "name=x", "-m"])
    monkeypatch.setattr("cxr_lightning.sweeps.table.write_summary", lambda folder: None)
    monkeypatch.setattr("cxr_lightning.sweeps.page.write_report", lambda folder: None)
    with pytest.raises(SystemExit):  # the jobs do nothing, which is a failure
        run_command("train", run)
    plan = read_plan(tmp_path / "outputs" / "x")
    assert [job.name for job in plan.jobs] == [name for name, _ in ran]
    assert plan.n_jobs == len(ran)
    for job, (_, overrides) in zip(plan.jobs, ran, strict=True):
        given = [override.lstrip("+") for override in overrides]
        assert [f"{key}={value}" for key, value in job.values.items()] == [
            word for word in given if word.partition("=")[0] in plan.swept
        ]


def test_a_grid_has_every_combination_the_last_key_fastest() -> None:
    overrides = parsed("seed=0,1", "optim.lr=0.1", "model=a,b", "name=mine")
    assert [job for job, _ in grid(overrides)] == [
        Job("seed-0_model-a", {"seed": "0", "model": "a"}),
        Job("seed-0_model-b", {"seed": "0", "model": "b"}),
        Job("seed-1_model-a", {"seed": "1", "model": "a"}),
        Job("seed-1_model-b", {"seed": "1", "model": "b"}),
    ]
    assert grid(overrides)[1][1] == ["seed=0", "optim.lr=0.1", "model=b", "name=mine"]
    assert swept_keys(overrides) == ["seed", "model"]
    assert [job.cell for job, _ in grid(overrides)[:2]] == [(("model", "a"),), (("model", "b"),)]


def test_a_value_given_twice_is_one_job() -> None:
    assert [job.name for job, _ in grid(parsed("optim.lr=1e-3,0.001"))] == ["optim.lr-0.001"]


def test_a_written_plan_is_read_back(tmp_path: Path) -> None:
    assert write_plan(tmp_path / "new", SEEDS) == SEEDS
    assert read_plan(tmp_path / "new") == SEEDS
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["sweep.json"]


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        (replace(SEEDS, fixed=["model=resnet18"]), "model=cnn5, model=resnet18"),
        (replace(SEEDS, fixed=["model=cnn5", "optim.lr=0.1"]), "optim.lr=0.1"),
        (replace(SEEDS, fixed=[]), "model=cnn5"),
        (replace(SEEDS, swept=["seed", "augment"]), "augment"),
        (replace(SEEDS, swept=["augment", "seed"]), "augment"),
    ],
)
def test_another_sweep_is_refused_and_told_how_to_proceed(
    changed: Plan, differing: str, tmp_path: Path
) -> None:
    write_plan(tmp_path, SEEDS)
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        write_plan(tmp_path, changed)
    assert str(caught.value) == (
        f"{tmp_path} holds another sweep; it differs in {differing}. Choose another name=…, delete "
        "the folder, or continue it with the same overrides (what is swept may get other values): "
        "cxr-train -m typed"
    )
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_other_values_are_added_and_jobs_that_were_started_stay(tmp_path: Path) -> None:
    write_plan(tmp_path, SEEDS)
    (tmp_path / "seed-0").mkdir()  # seed-1 has not begun
    plan = write_plan(tmp_path, plan_of({"seed": "2"}, {"seed": "3"}, fixed=["model=cnn5"]))
    assert [job.name for job in plan.jobs] == ["seed-2", "seed-3", "seed-0"]
    assert plan.n_jobs == 3
    assert read_plan(tmp_path) == plan


def test_another_order_of_keys_is_another_sweep(tmp_path: Path) -> None:
    write_plan(tmp_path, plan_of({"seed": "0", "model": "a"}))
    with pytest.raises(ConfigError, match=r"it differs in the order of model, seed\. Choose an"):
        write_plan(tmp_path, plan_of({"model": "a", "seed": "0"}))


def test_a_refused_job_counts_as_failed_until_the_sweep_is_started_again(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, SEEDS)
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "metrics.json").touch()  # of another run
    refuse(tmp_path / "seed-0", "seed-0 holds another run")
    assert [job_state(tmp_path / job.name) for job in plan.jobs] == ["failed", "waiting"]
    assert failure(tmp_path / "seed-0") == "seed-0 holds another run"
    write_plan(tmp_path, SEEDS)
    assert [job_state(tmp_path / job.name) for job in plan.jobs] == ["finished", "waiting"]


def test_a_failing_job_of_cxr_evaluate_does_not_stop_the_others(
    clean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def run(cfg: DictConfig) -> None:
        tried.append(cfg.ckpt_path)
        raise ConfigError("no such file")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cxr-evaluate", "-m", "ckpt_path=a,b"])
    run_command("evaluate", run)
    assert tried == ["a", "b"]


def test_a_folder_without_a_sweep_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_plan(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no sweep: sweep.json is not there. A sweep is what `cxr-train -m` "
        "leaves in outputs/<name>."
    )


def test_jobs_that_a_search_draws_are_added_to_its_plan_once(tmp_path: Path) -> None:
    write_plan(tmp_path, Plan(True, "cxr-train", [], ["optim.lr"], 5, []))
    jobs = [Job("trial-000", {"optim.lr": "0.1"}), Job("trial-001", {"optim.lr": "0.2"})]
    for job in (*jobs, jobs[0]):
        add_job(tmp_path, job)
    assert read_plan(tmp_path).jobs == jobs
    assert read_plan(tmp_path).n_jobs == 5


def test_the_time_left_is_that_of_a_jobs_cell_else_of_all(tmp_path: Path) -> None:
    seconds = {
        ("a", "none", "0"): 8.0,
        ("a", "none", "1"): 12.0,
        ("b", "none", "0"): 28.0,
        ("a", "none", "2"): None,  # its cell's mean: (8 + 2 + 12 + 2) / 2 = 12
        ("a", "none", "3"): None,  # and again
        ("b", "flip", "0"): None,  # a cell of its own: (10 + 14 + 30) / 3 = 18
        ("b", "flip", "1"): None,  # failed: not taken up by itself
        ("c", "flip", "0"): None,  # another
    }
    values = [{"model": m, "augment": a, "seed": s} for m, a, s in seconds]
    plan = write_plan(tmp_path, plan_of(*values))
    assert seconds_left(tmp_path) is None  # nothing is known yet
    for job, fit in zip(plan.jobs, seconds.values(), strict=True):
        folder = tmp_path / job.name
        folder.mkdir()
        if fit is not None:
            (folder / "metrics.json").touch()
            record = {"seconds": {"fit": fit, "test": 2.0}}
            (folder / "run.json").write_text(json.dumps(record))
    (tmp_path / "model-b_augment-flip_seed-1" / "error.txt").touch()
    (tmp_path / "model-b_augment-flip_seed-0" / "config.yaml").touch()  # running: counted whole
    assert seconds_left(tmp_path) == 12 + 12 + 18 + 18


def test_jobs_that_would_share_a_folder_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"would share the folder model.weights-a-b: "):
        grid(parsed("model.weights=a/b,a-b"))
