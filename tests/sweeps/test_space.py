"""Hydra's sweep syntax as a search space, and its points as overrides."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cxr_lightning.errors import ConfigError
from cxr_lightning.sweeps.trials import as_text, distribution, is_finite


def space(*typed: str) -> dict[str, BaseDistribution]:
    overrides = OverridesParser.create().parse_overrides(list(typed))
    return {override.key_or_group: distribution(override) for override in overrides}


def read_back(override: str) -> Any:
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("interval(0, 20)", FloatDistribution(0.0, 20.0)),
        ("interval(1e-4, 0.5)", FloatDistribution(1e-4, 0.5)),
        ("tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(0, 32))", IntDistribution(0, 32)),
        ("tag(log, int(interval(1, 100)))", IntDistribution(1, 100, log=True)),
        ("int(tag(log, interval(1, 100)))", IntDistribution(1, 100, log=True)),
        ("range(0, 9, 3)", IntDistribution(0, 6, step=3)),  # 0 3 6: Python's range, without its end
        ("range(0, 10, 3)", IntDistribution(0, 9, step=3)),  # 0 3 6 9
        ("range(10, 0, -2)", IntDistribution(2, 10, step=2)),  # 10 8 6 4 2
        ("range(5)", IntDistribution(0, 4)),
        ("range(3, 4)", CategoricalDistribution(["3"])),
        ("range(0, 1, 0.25)", CategoricalDistribution(["0.0", "0.25", "0.5", "0.75"])),
        ("choice(cnn5, resnet18)", CategoricalDistribution(["cnn5", "resnet18"])),
        ("cnn5,resnet18", CategoricalDistribution(["cnn5", "resnet18"])),
        ("8,16", CategoricalDistribution(["8", "16"])),
        ("choice(one)", CategoricalDistribution(["one"])),
    ],
)
def test_a_sweep_is_a_distribution(typed: str, expected: BaseDistribution) -> None:
    assert space(f"key={typed}") == {"key": expected}


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("choice(cnn5, resnet18)", ["cnn5", "resnet18"]),
        ("choice(1, 2.5, 1e-5)", [1, 2.5, 1e-05]),
        ("choice(true, false)", [True, False]),
        ("null,3", [None, 3]),
        ("choice('two words', 'a,b', 'e=f')", ["two words", "a,b", "e=f"]),
        ("choice([1,2], [3])", [[1, 2], [3]]),
        ("choice({a:1}, {a:2})", [{"a": 1}, {"a": 2}]),
        ("range(0, 1, 0.25)", [0.0, 0.25, 0.5, 0.75]),
    ],
)
def test_what_is_chosen_comes_back_as_what_was_typed(typed: str, values: list[Any]) -> None:
    chosen = space(f"key={typed}")["key"]
    assert isinstance(chosen, CategoricalDistribution)
    again = [read_back(f"key={as_text({'key': choice})['key']}") for choice in chosen.choices]
    assert again == values
    assert [type(value) for value in again] == [type(value) for value in values]  # True is not 1


@pytest.mark.parametrize("value", [0.1 + 0.2, 1 / 3, 1e-05, 2.884215938624852e-06, 20.0])
def test_a_drawn_number_comes_back_with_every_digit(value: float) -> None:
    again = read_back(f"optim.lr={as_text({'optim.lr': value})['optim.lr']}")
    assert isinstance(again, float) and again == value


def test_a_whole_number_stays_whole() -> None:
    assert as_text({"a": 7, "b": 7.0, "c": "7"}) == {"a": "7", "b": "7.0", "c": "7"}


def test_a_sweep_without_values_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        space("model=glob(*)")
    assert str(refused.value) == (
        "`model=glob(*)` cannot be searched: use choice, interval or range."
    )


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("interval(5, 1)", "`low <= high` must hold, but got (low=5.0, high=1.0)."),
        ("int(interval(5, 1))", "`low <= high` must hold, but got (low=5, high=1)."),
        (
            "tag(log, interval(0, 1))",
            "`low > 0` must hold for `log=True`, but got (low=0.0, high=1.0).",
        ),
    ],
)
def test_an_interval_that_has_no_values_is_a_sentence(typed: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        space(f"optim.lr={typed}")
    assert str(refused.value) == f"`optim.lr={typed}` has no values: {why}"


def test_a_space_is_finite_without_a_continuous_parameter() -> None:
    finite = space("a=choice(x, y, z)", "b=range(0, 10, 3)", "c=int(interval(2, 5))")
    assert is_finite(finite)
    assert not is_finite({**finite, **space("d=interval(0, 1)")})
