"""The benchmark suite's arithmetic, and what it says of contenders that cannot run."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.__main__ import arguments
from benchmarks.arithmetic import growth_exponent, paired_ratios, significant, spread
from benchmarks.child import ChildError, Result, call
from benchmarks.contenders import available
from benchmarks.contenders.window import seconds_per_step, window
from benchmarks.growth import exponents
from benchmarks.images import find_images, link_splits
from benchmarks.memory import kilobytes
from benchmarks.suite import Suite, show, values
from benchmarks.tiny import write_tiny
from cxr_lightning.data.index import index_folders

# --- arithmetic ----------------------------------------------------------------------------------


def test_a_spread_is_the_median_with_the_smallest_and_the_largest() -> None:
    assert spread([3.0, 1.0, 8.0, 2.0]) == "2.50 (1.00–8.00)"  # (2 + 3) / 2
    assert spread([3.0, 1.0, 8.0, 2.0], scale=1000) == "2500 (1000–8000)"
    assert spread([0.25]) == "0.250"


def test_there_is_no_median_of_nothing() -> None:
    with pytest.raises(ValueError, match="no median for empty data"):
        spread([])


def test_a_ratio_is_taken_within_its_round() -> None:
    # The second round was twice as slow for both, and says nothing else: 4 / 2 and 8 / 4.
    assert paired_ratios([4.0, 8.0], [2.0, 4.0]) == [2.0, 2.0]
    # Median of 6 / 2, 2 / 4 and 5 / 5; the ratio of the medians would be 5 / 4.
    assert spread(paired_ratios([6.0, 2.0, 5.0], [2.0, 4.0, 5.0])) == "1.00 (0.500–3.00)"


def test_rounds_that_one_side_lacks_are_an_error() -> None:
    with pytest.raises(ValueError, match="longer"):
        paired_ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("seconds", "exponent"),
    [
        ([0.5, 5.0, 50.0], 1.0),  # 10 times the images, 10 times the time
        ([0.5, 50.0, 5000.0], 2.0),  # 100 times the time
        ([7.0, 7.0, 7.0], 0.0),
        # log10: 0, 1, 3 over 3, 4, 5. Means 4/3 and 4: (-1 · -4/3 + 1 · 5/3) / 2 = 3/2.
        ([1.0, 10.0, 1000.0], 1.5),
    ],
)
def test_the_exponent_of_growth_is_1_where_time_is_linear(
    seconds: list[float], exponent: float
) -> None:
    assert growth_exponent([1_000, 10_000, 100_000], seconds) == pytest.approx(exponent, abs=1e-12)


def test_what_has_no_exponent_is_an_error() -> None:
    with pytest.raises(ValueError, match="math domain error"):
        growth_exponent([10, 100], [0.0, 1.0])
    with pytest.raises(ValueError, match="x is constant"):
        growth_exponent([10, 10], [1.0, 2.0])


def test_the_last_exponent_is_that_of_the_two_largest_sizes() -> None:
    # log10: 0, 0, 1 over 3, 4, 5, whose mean is 4: (1 · 1) / (1 + 1); then 1 / 1 of the last step.
    assert exponents({1_000: 1.0, 10_000: 1.0, 100_000: 10.0}) == ["0.50", "1.00"]
    assert exponents({1_000: 1.0}) == ["", ""]
    assert exponents({1_000: 0.0, 10_000: 2.0}) == ["", ""]  # 0 MB has no logarithm


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (0.012345, "0.0123"), (1.0, "1.00"), (99.96, "100.0"), (0.0, "0")],
)
def test_numbers_are_shown_in_three_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_the_timed_steps_lie_between_warm_up_and_the_loaders_end() -> None:
    plan = window(n_images=320, batch_size=32)
    assert plan == (4, 10, 18)  # 128 / 32 before, 320 / 32 timed, 4 later
    # Warm-up steps take 9 s, timed ones 2 s, later ones 1 s.
    seconds = [9.0] * 4 + [2.0] * 10 + [1.0] * 4
    ends = [sum(seconds[: i + 1]) for i in range(len(seconds))]
    assert seconds_per_step(ends, plan) == pytest.approx(2.0)


def test_few_large_batches_are_two_timed_steps() -> None:
    assert window(n_images=100, batch_size=100).timed == 2  # one says nothing of spread
    assert window(n_images=320, batch_size=100).timed == 4
    assert window(n_images=1000, batch_size=100).before == 2  # 1.28


def test_an_epoch_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="9 steps, but 10 were planned"):
        seconds_per_step([float(i) for i in range(9)], window(400, 100))


# --- runs ----------------------------------------------------------------------------------------


def test_contenders_take_turns(tmp_path: Path) -> None:
    order: list[tuple[str, int]] = []

    def contender(name: str) -> Callable[[int], Result]:
        def one(number: int) -> Result:
            order.append((name, number))
            return {"seconds": 10.0 * number}

        return one

    suite = Suite(pd.DataFrame(), tmp_path, rounds=2)
    results = suite.interleave("case", {"a": contender("a"), "b": contender("b")})
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert values(results, "seconds") == {"a": [0.0, 10.0], "b": [0.0, 10.0]}
    assert suite.left_out == []


def test_a_contender_that_fails_is_left_out_with_its_reason(tmp_path: Path) -> None:
    def fails_later(number: int) -> Result:
        if number == 1:
            raise ChildError("out of memory")
        return {"seconds": 1.0}

    suite = Suite(pd.DataFrame(), tmp_path, rounds=3)
    results = suite.interleave("case", {"a": fails_later, "b": lambda _: {"seconds": 2.0}})
    assert values(results, "seconds") == {"b": [2.0, 2.0, 2.0]}
    assert suite.left_out == ["case: a is left out: it failed (out of memory)."]


def test_a_missing_peer_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.contenders.find_spec", lambda name: name != "monai" or None)
    found, sentences = available(["student", "MONAI CacheDataset"])
    assert [contender.name for contender in found] == ["student"]
    assert sentences == [
        "MONAI CacheDataset is left out: monai is not installed "
        "(pip install -r benchmarks/requirements.txt)."
    ]


def test_a_run_is_a_process_of_its_own_that_gives_back_a_dictionary(tmp_path: Path) -> None:
    # json.loads, called by name in the child: its own result, and the child's memory.
    result = call("json:loads", tmp_path, tmp_path, s='{"seconds": 1.5}')
    assert result["seconds"] == 1.5
    assert result["peak_rss_mb"] > 1


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="JSONDecodeError: Expecting value"):
        call("json:loads", tmp_path, tmp_path, s="nonsense")


def test_memory_of_a_process_is_the_sum_over_its_mappings_or_those_of_one_file() -> None:
    smaps = """7f00-7f01 ---p 00000000 00:00 0
Rss:   1024 kB
Pss:    512 kB
VmFlags: rd wr
7f01-7f02 r--s 00000000 00:00 7   /store/pixels.bin
Rss:    100 kB
Pss:     50 kB
"""
    assert kilobytes(smaps) == {"Rss": 1124.0, "Pss": 562.0}
    assert kilobytes(smaps, Path("/store/pixels.bin")) == {"Rss": 100.0, "Pss": 50.0}


# --- images and selection ------------------------------------------------------------------------


def test_links_repeat_when_there_are_too_few_images(
    tmp_path: Path, write_images: Callable[..., list[str]]
) -> None:
    write_images(tmp_path / "images", {"train/NORMAL": 3, "test/COVID19": 2}, size=16)
    found = find_images(tmp_path / "images")
    different = link_splits(found, tmp_path / "links", n_train=8, n_test=4)
    assert different == 5
    train = [file for file in (tmp_path / "links" / "train").rglob("*.png") if file.is_symlink()]
    assert len(train) == 8
    assert len({file.resolve() for file in train}) == 5
    per_class = {
        folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "links/test").iterdir()
    }
    assert per_class == {"NORMAL": 2, "COVID19": 2}  # 4 test images, half a class


def test_tiny_images_are_as_many_as_asked_for_two_a_patient(tmp_path: Path) -> None:
    index = index_folders(write_tiny(tmp_path / "tiny", 400), group_pattern=r"(person\d+)")
    assert len(index.table) == 400
    assert set(index.table["group"].value_counts()) == {2}
    # 200 patients: 8, 22, 60 and 10 of each hundred, two images each.
    assert index.table["label"].value_counts().to_dict() == {2: 240, 1: 88, 3: 40, 0: 32}


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ([], ["training", "training/cnn5/32/none", "growth"]),
        (["training"], ["training", "training/cnn5/32/none"]),
        (["training/cnn5"], ["training", "training/cnn5/32/none"]),
        (["training/cnn5/3"], ["training"]),  # 3 is no batch size, and not the start of 32
        (["growth"], ["growth"]),
    ],
)
def test_only_selects_parts_and_cases(only: list[str], wanted: list[str], tmp_path: Path) -> None:
    suite = Suite(pd.DataFrame(), tmp_path, only=only)
    names = ["training", "training/cnn5/32/none", "growth"]
    assert [name for name in names if suite.wants(name)] == wanted


def test_quick_changes_only_what_was_not_asked_for() -> None:
    given = arguments(["--images", "x", "--quick", "--rounds", "5"])
    assert (given.rounds, given.n_images) == (5, 64)
    given = arguments(["--images", "x"])
    assert (given.rounds, given.n_images) == (3, 320)


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--images", "x", "--only", "trainings"])
    assert "--only trainings: the parts are training, decoding" in capsys.readouterr().err


def test_contenders_can_be_named_and_others_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments(["--images", "x", "--contenders", "limit", "ours"])
    assert [contender.name for contender in available(given.contenders)[0]] == ["ours", "limit"]
    with pytest.raises(SystemExit):
        arguments(["--images", "x", "--contenders", "Ours"])
    assert "'Ours' (choose from" in capsys.readouterr().err


def test_a_table_is_printed_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    show("seconds", ["", "1,000"], [["index", "0.0100"]], "One run.")
    assert capsys.readouterr().out.splitlines() == [
        "### seconds",
        "",
        "|       | 1,000   |",
        "|-------|---------|",
        "| index | 0.0100  |",
        "",
        "One run.",
        "",
    ]
