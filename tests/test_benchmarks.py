"""The benchmark suite's arithmetic, and what it says of contenders that cannot run."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.__main__ import arguments
from benchmarks.arithmetic import growth_exponent, paired_ratios, significant, slope, spread
from benchmarks.child import ChildError, Result, call
from benchmarks.growth import _exponents
from benchmarks.images import find_images, link_splits
from benchmarks.memory import _kilobytes
from benchmarks.rounds import interleave, missing_peer
from benchmarks.suite import Suite, Table
from benchmarks.tiny import write_tiny
from benchmarks.training.contenders import available
from benchmarks.training.window import Window
from cxr_lightning.data.index import index_folders

# --- arithmetic ----------------------------------------------------------------------------------


def test_a_spread_is_the_median_with_the_smallest_and_the_largest() -> None:
    found = spread([3.0, 1.0, 8.0, 2.0])
    assert (found.median, found.low, found.high) == (2.5, 1.0, 8.0)  # (2 + 3) / 2
    assert found.text() == "2.50 (1.00–8.00)"
    assert found.text(scale=1000) == "2500 (1000–8000)"
    assert spread([0.25]).text() == "0.250"


def test_there_is_no_median_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_a_ratio_is_taken_within_its_round() -> None:
    # The second round was twice as slow for both, and says nothing else: 4 / 2 and 8 / 4.
    assert paired_ratios([4.0, 8.0], [2.0, 4.0]) == [2.0, 2.0]
    # Median of 6 / 2, 2 / 4 and 5 / 5; the ratio of the medians would be 5 / 4.
    assert spread(paired_ratios([6.0, 2.0, 5.0], [2.0, 4.0, 5.0])).median == 1.0


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
    with pytest.raises(ValueError, match="above 0"):
        growth_exponent([10, 100], [0.0, 1.0])
    with pytest.raises(ValueError, match="two different sizes"):
        growth_exponent([10, 10], [1.0, 2.0])


def test_bytes_an_image_are_the_slope_of_memory() -> None:
    # 500 at no image, and 3 an image.
    assert slope([10, 20, 40], [530, 560, 620]) == pytest.approx(3.0)


def test_the_last_exponent_is_that_of_the_two_largest_sizes() -> None:
    # log10: 0, 0, 1 over 3, 4, 5, whose mean is 4: (1 · 1) / (1 + 1); then 1 / 1 of the last step.
    assert _exponents({1_000: 1.0, 10_000: 1.0, 100_000: 10.0}) == ["0.50", "1.00"]
    assert _exponents({1_000: 1.0}) == ["", ""]
    assert _exponents({1_000: 0.0, 10_000: 2.0}) == ["", ""]  # 0 MB has no logarithm


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (0.012345, "0.0123"), (1.0, "1.00"), (99.96, "100.0"), (0.0, "0")],
)
def test_numbers_are_shown_in_three_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_the_timed_steps_lie_between_warm_up_and_the_loaders_end() -> None:
    window = Window.of(n_images=320, batch_size=32)
    assert (window.before, window.measured) == (4, 10)  # 128 / 32, 320 / 32
    assert window.epoch_images == 18 * 32
    # Warm-up steps take 9 s, timed ones 2 s, later ones 1 s: 10 · 2 s / 320 images.
    seconds = [9.0] * 4 + [2.0] * 10 + [1.0] * 4
    ends = [sum(seconds[: i + 1]) for i in range(len(seconds))]
    assert window.seconds_per_image(ends) == pytest.approx(20 / 320)


def test_few_large_batches_are_two_timed_steps() -> None:
    assert Window.of(n_images=100, batch_size=100).measured == 2  # one says nothing of spread
    assert Window.of(n_images=320, batch_size=100).measured == 4
    assert Window.of(n_images=1000, batch_size=100).before == 2  # 1.28


def test_an_epoch_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ValueError, match="9 steps, but 10 were planned"):
        Window.of(400, 100).seconds_per_image([float(i) for i in range(9)])


# --- runs ----------------------------------------------------------------------------------------


def test_contenders_take_turns() -> None:
    order: list[tuple[str, int]] = []

    def contender(name: str) -> Callable[[int], Result]:
        def one(number: int) -> Result:
            order.append((name, number))
            return {"seconds": 10.0 * number}

        return one

    runs = interleave({"a": contender("a"), "b": contender("b")}, rounds=2)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert runs.values("b", "seconds") == [0.0, 10.0]
    assert runs.left_out == {}


def test_a_contender_that_fails_is_left_out_with_its_reason() -> None:
    def fails_later(number: int) -> Result:
        if number == 1:
            raise ChildError("out of memory")
        return {"seconds": 1.0}

    runs = interleave({"a": fails_later, "b": lambda _: {"seconds": 2.0}}, rounds=3)
    assert list(runs.results) == ["b"]
    assert runs.values("b", "seconds") == [2.0, 2.0, 2.0]
    assert runs.left_out == {"a": "a is left out: it failed (out of memory)."}


def test_a_missing_peer_is_said_with_what_to_install() -> None:
    assert missing_peer("MONAI", ("json", "no_such_library")) == (
        "MONAI is left out: no_such_library not installed "
        "(pip install -r benchmarks/requirements.txt)."
    )
    assert missing_peer("student", ()) is None
    assert missing_peer("student", ("json",)) is None


def test_a_run_is_a_process_of_its_own_that_gives_back_a_dictionary(tmp_path: Path) -> None:
    # json.loads, called by name in the child: its own result, and the child's memory.
    result = call("json:loads", tmp_path, tmp_path, s='{"seconds": 1.5}')
    assert result["seconds"] == 1.5
    assert result["peak_rss_mb"] > 1


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="JSONDecodeError: Expecting value"):
        call("json:loads", tmp_path, tmp_path, s="nonsense")


def test_memory_of_a_process_is_read_from_its_table() -> None:
    lines = ["7f00-7fff ---p 00000000 00:00 0   [rollup]", "Rss:   1024 kB", "Pss_Anon:  512 kB"]
    assert _kilobytes(lines) == {"Rss": 1024.0, "Pss_Anon": 512.0}


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
    suite = Suite(tmp_path, pd.DataFrame(), tmp_path, 1, 1, 32, quick=True, only=only)
    names = ["training", "training/cnn5/32/none", "growth"]
    assert [name for name in names if suite.wants(name)] == wanted


def test_quick_changes_only_what_was_not_asked_for() -> None:
    given = arguments(["--images", "x", "--quick", "--rounds", "5"])
    assert (given.rounds, given.n_images, given.image_size) == (5, 64, 64)
    given = arguments(["--images", "x"])
    assert (given.rounds, given.n_images, given.image_size) == (3, 320, 256)


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


def test_a_table_is_markdown() -> None:
    table = Table("seconds", ["", "1,000"], [["index", "0.0100"]], "One run.")
    assert table.markdown().splitlines() == [
        "### seconds",
        "",
        "|       | 1,000   |",
        "|-------|---------|",
        "| index | 0.0100  |",
        "",
        "One run.",
    ]
