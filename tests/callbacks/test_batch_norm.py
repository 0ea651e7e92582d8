"""Batch-norm statistics measured anew: by hand, and with frozen layers, which keep theirs."""

import torch
from torch import nn

from cxr_lightning.callbacks.batch_norm import measure_again


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Flatten())


def test_the_statistics_are_the_mean_over_the_batches() -> None:
    net = network().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    batches = [torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.tensor([4.0, 8.0]).view(2, 1, 1, 1)]
    measure_again(net, batches)
    # Means 1 and 6, unbiased variances 2 and 8; the second channel is twice the first.
    assert net[1].running_mean.tolist() == [3.5, 7.0]
    assert net[1].running_var.tolist() == [5.0, 20.0]
    assert net[1].momentum == 0.1
    assert not net[1].training


def test_frozen_layers_keep_theirs() -> None:
    net = network().requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert measure_again(net, [torch.randn(4, 1, 2, 2)]) == []
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_weights_and_other_modes_do_not_change() -> None:
    net = nn.Sequential(network(), nn.Dropout(0.5)).train()
    weight = net[0][0].weight.clone()
    net[1].eval()
    measure_again(net, [torch.randn(4, 1, 2, 2)])
    assert torch.equal(weight, net[0][0].weight)
    assert net[0][1].training
    assert not net[1].training
