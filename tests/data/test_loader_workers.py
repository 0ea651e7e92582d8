"""How many processes load images, by what the machine has."""

import pytest

from cxr_lightning.data.datamodule import loader_workers


@pytest.mark.parametrize(
    ("asked", "n_gpus", "cores", "workers"),
    [
        ("auto", 0, 16, 0),
        ("auto", 1, 32, 8),  # eight at most
        ("auto", 2, 12, 6),  # the cores of one GPU: 12 / 2
        (3, 0, 2, 3),
        (0, 4, 64, 0),
    ],
)
@pytest.mark.parametrize("has_affinity", [True, False])
def test_loader_workers(
    asked: int | str,
    n_gpus: int,
    cores: int,
    workers: int,
    has_affinity: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    if has_affinity:  # a job beside others may use a share of the machine
        monkeypatch.setattr(
            "os.sched_getaffinity", lambda process: set(range(cores)), raising=False
        )
        monkeypatch.setattr("os.cpu_count", lambda: 1000)
    else:  # macOS
        monkeypatch.delattr("os.sched_getaffinity", raising=False)
        monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert loader_workers(asked) == workers
