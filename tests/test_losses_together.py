"""Losses on two ranks: the averaged gradient is that of one process with all images."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cxr_lightning.models import losses

COUNTS = [5, 40, 120, 15]
LABELS = torch.tensor([0, 2, 2, 1, 3, 2, 2, 1])  # the rare classes are on the first rank, mostly
OPTIONS: dict[str, dict[str, Any]] = {
    "ClassWeightedLoss": {"label_smoothing": 0.1},
    "EffectiveNumberLoss": {},
    "LDAMLoss": {"reweight_from": 0.0},
    "FocalLoss": {"gamma": 2.0},
    "LogitAdjustedLoss": {"label_smoothing": 0.1},
}


def images() -> torch.Tensor:
    return torch.randn(len(LABELS), 3, generator=torch.Generator().manual_seed(0))


def gradient(name: str, own: slice) -> torch.Tensor:
    """Of a linear network's weights, for some of the images."""
    network = torch.nn.Linear(3, len(COUNTS), bias=False)
    torch.nn.init.eye_(network.weight)
    counts = {} if name == "FocalLoss" else {"class_counts": COUNTS}
    loss = getattr(losses, name)(**counts, **OPTIONS[name])
    loss(network(images()[own]), LABELS[own]).backward()
    assert network.weight.grad is not None
    return network.weight.grad


def on_a_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for name in OPTIONS:
        mean = gradient(name, slice(4 * rank, 4 * rank + 4))
        dist.all_reduce(mean)
        found[name] = mean / 2
    if rank == 0:
        with torch.no_grad():  # as in validation, where the other rank may have no batch left
            losses.ClassWeightedLoss(COUNTS)(images()[:, :1].expand(-1, 4), LABELS)
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(on_a_rank, (str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return torch.load(folder / "found.pt")  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", OPTIONS)
def test_two_ranks_take_the_step_of_one_process(name: str, found: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(found[name], gradient(name, slice(None)), rtol=1e-5, atol=1e-7)
