"""A training step never waits for the device."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_classifiers import loader
from torch.utils._python_dispatch import TorchDispatchMode

from cxr_lightning.models.classifier import Classifier


class ReadByPython(TorchDispatchMode):
    """Counts values that Python reads from tensors: on a GPU, each waits for all that is queued."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_counter_counts() -> None:
    with ReadByPython() as read:
        assert torch.ones(1).item() == 1
        float(torch.ones(1))
    assert read.count == 2


@pytest.mark.parametrize("imbalance", ["none", "class_weights", "focal", "logit_adjustment"])
def test_no_value_of_a_step_is_read(classifier: Callable[..., Classifier], imbalance: str) -> None:
    model = classifier(f"imbalance={imbalance}").train()
    batch = next(iter(loader()))
    with ReadByPython() as read:
        model.training_step(batch, 0).backward()
    assert read.count == 0
    assert len(model.collectors["train"].logits) == 1
