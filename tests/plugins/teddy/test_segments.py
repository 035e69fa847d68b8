"""Eq. 7 segment by segment: the value and the gradient of the whole batch, in less memory."""

from dataclasses import replace

import pytest
import torch
from ddkit_teddy.matching import Reference, matched_layers, running_references, teddy_loss
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.segments import Moments, segmented_loss
from torch import nn

from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.memory import PeakMemory

CLASSES = torch.tensor([2, 0, 1, 2, 0, 2, 2, 4, 1, 0])
WEIGHTS = {"bn_weight": 0.3, "ce_weight": 0.7, "first_bn": 10.0}


def member(seed: int, width: int = 3) -> nn.Module:
    """Convolutions and a linear layer between batch norms, in float64, frozen."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 9, 6),
        nn.BatchNorm1d(6),
        nn.Tanh(),
        nn.Linear(6, 5),
    ).double()
    for layer in matched_layers(network):
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


def references(network: nn.Module, classwise: bool) -> list[Reference]:
    found = running_references(network)
    if not classwise:
        return found
    means = [torch.rand(5, len(each.mean), dtype=torch.float64) for each in found]
    return [Reference(a.mean, a.variance, b) for a, b in zip(found, means, strict=True)]


def images(count: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 2, 5, 5, dtype=torch.float64, generator=generator)


def assert_equal_to_whole(members, matched, segment, through=lambda x: x, **weights):
    leaf = images().requires_grad_()
    whole = teddy_loss(members, matched, through(leaf), CLASSES, **weights)
    (expected,) = torch.autograd.grad(whole, leaf)
    loss = segmented_loss(members, matched, through(leaf), CLASSES, segment=segment, **weights)
    (gradient,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(loss, whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().min() > 1e-8


@pytest.mark.parametrize("segment", [1, 3, 7, 10, 99])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("classwise", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
def test_value_and_gradient_are_those_of_the_whole_batch(segment, n, classwise, unbiased):
    members = [member(seed) for seed in range(n)]
    matched = [references(network, classwise) for network in members]
    assert_equal_to_whole(members, matched, segment, unbiased=unbiased, **WEIGHTS)


@pytest.mark.parametrize("segment", [1, 4, 10])
def test_inputs_of_convolutions_and_shares_of_classes_go_by_segments_too(segment):
    network = member(8)
    norms = [replace(each, class_share=0.3) for each in references(network, True)]
    one = torch.ones(2, dtype=torch.float64)
    matched = [*norms, Reference(one / 3, one / 5), Reference(one[0].repeat(3), one[0].repeat(3))]
    assert_equal_to_whole([network], [matched], segment, **WEIGHTS)


def test_the_gradient_goes_on_through_what_made_the_images():
    members = [member(5)]
    matched = [references(members[0], False)]
    assert_equal_to_whole(members, matched, 3, through=lambda x: x.roll(1, 3).sin(), **WEIGHTS)


def test_members_may_differ_in_whether_class_means_are_matched():
    members = [member(6), member(7)]
    matched = [references(members[0], True), references(members[1], False)]
    assert_equal_to_whole(members, matched, 4, **WEIGHTS)


def test_merged_moments_lose_no_digits_far_from_zero():
    """The sum of squares of such values has no digit of the variance left in float32."""
    generator = torch.Generator().manual_seed(1)
    features = 1000 + 0.1 * torch.randn(60, 2, 4, 4, generator=generator)
    merged = Moments.of(features[:7], None)
    for part in features[7:].split(7):
        merged = merged.merged(Moments.of(part, None))
    exact = features.double().var(dim=(0, 2, 3))
    assert merged.count == 60 * 16
    torch.testing.assert_close((merged.squares / (60 * 16 - 1)).double(), exact, rtol=2e-3, atol=0)


def step_peak(segment: int, n: int, count: int = 24) -> int:
    members = [member(seed, width=16) for seed in range(n)]
    matched = [references(network, False) for network in members]
    leaf = images(count).requires_grad_()
    classes = torch.arange(count) % 5
    with PeakMemory() as memory:
        segmented_loss(members, matched, leaf, classes, segment=segment).backward()
    return memory.peak


def test_memory_falls_with_the_segment_and_does_not_grow_with_the_members():
    large, small, tiny = (step_peak(segment, 1) for segment in (24, 6, 1))
    assert small < 0.4 * large
    assert tiny < small
    assert step_peak(6, 4) <= 1.02 * small


def test_memory_of_a_segment_is_the_same_in_a_larger_batch_but_for_the_images():
    image = 2 * 5 * 5 * 8
    grown = step_peak(4, 2, 80) - step_peak(4, 2, 20)
    assert grown <= 4 * 60 * image


@pytest.mark.parametrize("settings", [(), ("augmentation=rrc",), ("statistics=classwise",)])
def test_a_run_in_segments_makes_the_images_of_a_whole_one(teddy_run, settings):
    gradients = []
    for segment in (0, 3):
        run = teddy_run(f"segment={segment}", "teachers=2", *settings, ipc=2)
        objective = TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))
        shard = objective.shards()[0]
        leaf = objective.initialise(shard)["images"].value.requires_grad_()
        objective.loss(shard, {"images": leaf}, 0).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


def test_another_segment_needs_no_other_pool(teddy_run):
    plain, cut = (
        stage_pools.open_pool(teddy_run(*settings), "synthesis")
        for settings in ((), ("segment=3",))
    )
    assert plain.folder == cut.folder


def test_only_networks_are_cast():
    """This one has nothing that autocast knows: all that could be cast are the statistics."""
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(50)).eval().requires_grad_(False)
    (found,) = running_references(network)
    matched = [[Reference(found.mean, found.variance, torch.rand(5, 50))]]
    leaf = images().float().requires_grad_()
    (exact,) = torch.autograd.grad(teddy_loss([network], matched, leaf, CLASSES), leaf)
    with torch.autocast("cpu", torch.bfloat16):
        loss = segmented_loss([network], matched, leaf, CLASSES, segment=3)
    (cast,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(cast, exact, rtol=1e-4, atol=1e-6)


def test_a_step_in_bfloat16_points_where_the_exact_one_does(teddy_run):
    run = teddy_run("segment=4", "statistics=classwise", ipc=1)
    objective = TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    gradients = []
    for enabled in (False, True):
        leaf = objective.initialise(shard)["images"].value.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = objective.loss(shard, {"images": leaf}, 0)
        loss.backward()
        assert loss.dtype == torch.float32
        gradients.append(leaf.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99
