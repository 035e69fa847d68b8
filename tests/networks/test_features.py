"""What features are: the input of the last linear layer that is called."""

import pytest
import torch
from torch import nn

from ddkit import DdkitError
from ddkit.networks.features import last_linear_input


class Backwards(nn.Module):
    """Two linear layers, registered in the other order than they are called in."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 2)
        self.first = nn.Linear(4, 5)

    def forward(self, inputs):
        return self.last(self.first(inputs.flatten(1)).relu())


def test_features_are_the_input_of_the_linear_layer_that_is_called_last():
    network = Backwards()
    inputs = torch.randn(3, 1, 2, 2)
    found = last_linear_input(network, inputs)
    assert torch.equal(found, network.first(inputs.flatten(1)).relu())
    assert torch.equal(network.last(found), network(inputs))


def test_features_have_the_gradient_of_their_inputs():
    network = Backwards()
    inputs = torch.randn(3, 1, 2, 2, requires_grad=True)
    (found,) = torch.autograd.grad(last_linear_input(network, inputs).sum(), inputs)
    (expected,) = torch.autograd.grad(network.first(inputs.flatten(1)).relu().sum(), inputs)
    assert torch.equal(found, expected)


def test_networks_are_left_as_they_were():
    network = Backwards()
    last_linear_input(network, torch.randn(3, 1, 2, 2))
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten()),
        nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (6, 2)), nn.Linear(2, 1)),
    ],
)
def test_a_network_without_one_row_of_features_for_each_image_is_refused(network):
    with pytest.raises(DdkitError, match="does not end in a linear layer"):
        last_linear_input(network, torch.randn(3, 1, 2, 2))
    assert not any(module._forward_pre_hooks for module in network.modules())
