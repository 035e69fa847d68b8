"""Averages that batch norms keep, against torch's own and against the features themselves."""

import copy

import pytest
import torch
from torch import nn

from ddkit.networks import average_statistics, batch_norms


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2, momentum=0.3),
        nn.Dropout(),
        nn.Conv2d(2, 3, 2),
        nn.BatchNorm2d(3),
    )


@pytest.fixture
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(size, 1, 6, 6, generator=generator) for size in (4, 7, 2, 5)]


def test_statistics_are_the_average_over_batches(network, batches):
    network.eval()
    average_statistics(network, batches)
    features = [network[0](inputs).detach() for inputs in batches]
    mean = torch.stack([seen.mean((0, 2, 3)) for seen in features]).mean(0)
    variance = torch.stack([seen.var((0, 2, 3)) for seen in features]).mean(0)
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, variance)


def test_they_are_torchs_own_averages_to_the_bit(network, batches):
    theirs = copy.deepcopy(network).eval()
    for layer in batch_norms(theirs):
        layer.reset_running_stats()
        layer.train().momentum = None
    with torch.no_grad():
        for inputs in batches:
            theirs(inputs)
    average_statistics(network.eval(), batches)
    for found, expected in zip(batch_norms(network), batch_norms(theirs), strict=True):
        assert torch.equal(found.running_mean, expected.running_mean)
        assert torch.equal(found.running_var, expected.running_var)
        assert found.num_batches_tracked == expected.num_batches_tracked == 4


def test_momentum_and_the_mode_of_other_layers_stay_and_batch_norms_rest(network, batches):
    weights = {name: weight.clone() for name, weight in network.named_parameters()}
    average_statistics(network, batches)
    assert [layer.momentum for layer in batch_norms(network)] == [0.3, 0.1]
    assert not any(layer.training for layer in batch_norms(network))
    assert network[2].training
    assert all(torch.equal(network.get_parameter(name), kept) for name, kept in weights.items())


def test_no_value_is_read_back_from_the_device(network, batches, away):
    network.to(away.device)
    average_statistics(
        network, [inputs.to(away.device) for inputs in batches]
    )  # "meta" would raise
    assert batch_norms(network)[0].running_mean.device == away.device
