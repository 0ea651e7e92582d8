"""What is timed, on a clock that the test sets."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cxr_lightning.callbacks import stopwatch as module
from cxr_lightning.callbacks.stopwatch import Stopwatch, peak_memory_mb
from cxr_lightning.data.dataset import Batch


class Clock:
    """`perf_counter` that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock.perf_counter)
    return clock


def batch(size: int) -> Batch:
    labels = torch.zeros(size, dtype=torch.int64)
    return Batch(torch.zeros(size, 1, 2, 2, dtype=torch.uint8), labels, labels)


def epoch(
    watch: Stopwatch, clock: Clock, sizes: list[int], world_size: int = 1
) -> dict[str, float]:
    """Batches that are waited for 2 s and trained on for 8 s each; what is logged."""
    logged: dict[str, float] = {}
    trainer: Any = SimpleNamespace(is_last_batch=False, world_size=world_size)
    network: Any = SimpleNamespace(
        device=torch.device("cpu"), log=lambda name, value, **_: logged.update({name: value})
    )
    watch.on_train_epoch_start(trainer, network)
    for number, size in enumerate(sizes):
        clock.now += 2
        watch.on_train_batch_start(trainer, network, batch(size), number)
        clock.now += 8
        trainer.is_last_batch = number == len(sizes) - 1
        watch.on_train_batch_end(trainer, network)
    return logged


def test_an_epochs_speed_and_its_share_of_waiting(clock: Clock) -> None:
    watch = Stopwatch()
    logged = epoch(watch, clock, [32, 32, 16])
    assert logged == {  # 80 images in 3 × 10 s, of which 3 × 2 s for data
        "time/train_epoch_s": 30.0,
        "time/images_per_s": pytest.approx(80 / 30),
        "time/data_wait": pytest.approx(0.2),
    }


def test_images_are_those_of_all_processes(clock: Clock) -> None:
    assert epoch(Stopwatch(), clock, [10], world_size=4)["time/images_per_s"] == 4.0


def test_a_run_is_summed_up_by_medians(clock: Clock) -> None:
    watch = Stopwatch()
    nobody: Any = None
    watch.on_fit_start(nobody, nobody)
    for sizes in ([10], [20], [90]):
        epoch(watch, clock, sizes)
        clock.now += 5  # validation
    watch.on_fit_end(nobody, nobody)
    watch.on_test_start(nobody, nobody)
    clock.now += 3
    watch.on_test_end(nobody, nobody)
    summary = watch.summary()
    assert summary["epochs"] == 3
    assert summary["train_epoch_s"] == 10.0
    assert summary["images_per_s"] == 2.0  # of 1, 2 and 9
    assert summary["data_wait"] == pytest.approx(0.2)
    assert summary["seconds"] == {"fit": 45.0, "test": 3.0}
    assert summary["peak_memory_mb"]["process"] > 50  # Python and torch alone


def test_a_test_alone_has_no_speed_of_training(clock: Clock) -> None:
    summary = Stopwatch().summary()
    assert summary["epochs"] == 0
    assert summary["train_epoch_s"] is summary["images_per_s"] is summary["data_wait"] is None


def test_a_run_that_was_cut_off_counts_its_epochs_before(clock: Clock) -> None:
    nobody: Any = None
    first, second = Stopwatch(), Stopwatch()
    first.on_fit_start(nobody, nobody)
    epoch(first, clock, [10])
    state = first.state_dict()
    clock.now += 1000  # nobody trains
    second.load_state_dict(state)
    second.on_fit_start(nobody, nobody)
    epoch(second, clock, [10])
    second.on_fit_end(nobody, nobody)
    assert second.summary()["epochs"] == 2
    assert second.summary()["seconds"]["fit"] == 20.0
    # The checkpoint that is tested afterwards changes nothing.
    second.load_state_dict(state)
    assert second.summary()["epochs"] == 2


def test_memory_is_that_of_the_process() -> None:
    before = peak_memory_mb()["process"]
    size_mb = int(before) + 100  # more than was ever resident, whatever is so now
    block = bytearray(size_mb * 2**20)
    block[::4096] = b"1" * len(range(0, len(block), 4096))
    after = peak_memory_mb()["process"]
    assert before + 100 <= after + 1
    assert after < before + size_mb + 100  # MiB, not kB
    del block
    assert peak_memory_mb()["process"] == pytest.approx(after, rel=0.05)  # the peak stays
