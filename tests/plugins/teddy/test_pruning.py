"""The post pool: the paper's figures, saved so that it loads again."""

import copy

import pytest
import torch
from ddkit_teddy.pruning import prune, ratio_for

from ddkit import networks
from ddkit.networks.pruned import network_size, prune_as

IMAGENET = (3, 224, 224)


def torchvision_resnet18():
    return networks.create(
        "torchvision-resnet18", classes=1000, shape=IMAGENET, generator=torch.Generator()
    )


def count_by_hand(network, shape):
    """Multiply-accumulates and parameters, counted in forward hooks: convolutions and linears."""
    macs = 0
    handles = []

    def conv(layer, arguments, output):
        nonlocal macs
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        macs += output.shape[2] * output.shape[3] * kernel * layer.in_channels * layer.out_channels

    def linear(layer, arguments, output):
        nonlocal macs
        macs += layer.in_features * layer.out_features

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            handles.append(layer.register_forward_hook(conv))
        if isinstance(layer, torch.nn.Linear):
            handles.append(layer.register_forward_hook(linear))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return macs, sum(parameter.numel() for parameter in network.parameters())


def test_default_ratio_leaves_the_papers_size_of_resnet18():
    network = torchvision_resnet18()
    prune(network, 0.19, 1000, IMAGENET, torch.Generator().manual_seed(0))
    macs, parameters = count_by_hand(network, IMAGENET)
    assert parameters == 7_717_661  # 7.72 M in appendix D.1
    assert round(macs / 1e9, 1) == 1.2  # GFLOPs in appendix D.1
    assert network_size(network, IMAGENET)[1] == parameters


def small(norm: str = "batch"):
    return networks.create(
        f"convnet:width=16:depth=2:norm={norm}",
        classes=4,
        shape=(1, 8, 8),
        generator=torch.Generator().manual_seed(0),
    )


def test_what_is_cut_is_random_and_follows_from_the_generator():
    histories = []
    for seed in (0, 0, 1):
        network = small()
        histories.append(prune(network, 0.25, 4, (1, 8, 8), torch.Generator().manual_seed(seed)))
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    prune(small(), 0.25, 4, (1, 8, 8), torch.Generator().manual_seed(3))
    assert torch.equal(state, torch.get_rng_state())


def test_pruned_weights_load_into_the_same_cut():
    network = small()
    history = prune(network, 0.3, 4, (1, 8, 8), torch.Generator().manual_seed(5))
    again = prune_as(small(), history, (1, 8, 8))
    again.load_state_dict(copy.deepcopy(network.state_dict()))
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(network.eval()(images), again.eval()(images))


def test_the_classifier_keeps_all_its_classes():
    network = small()
    prune(network, 0.5, 4, (1, 8, 8), torch.Generator().manual_seed(0))
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("what", ["parameters", "macs"])
def test_a_target_share_is_met(what):
    ratio = ratio_for(small, 4, (1, 8, 8), **{what: 0.5})
    network = small()
    before = network_size(network, (1, 8, 8))
    prune(network, ratio, 4, (1, 8, 8), torch.Generator().manual_seed(1))
    after = network_size(network, (1, 8, 8))
    place = 1 if what == "parameters" else 0
    assert after[place] / before[place] == pytest.approx(0.5, abs=0.08)  # 16 channels: coarse steps
