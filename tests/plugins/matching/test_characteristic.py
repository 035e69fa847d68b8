"""NCFM: its loss against complex numbers, sines and a kernel; frequencies that learn; pairs."""

import numpy as np
import pytest
import torch
from ddkit_matching.aliases import NCFM
from ddkit_matching.characteristic import (
    FLOOR,
    characteristic_loss,
    differences,
    draw_frequencies,
    function,
    scale_leaves,
)
from ddkit_matching.interpolated import interpolate
from ddkit_matching.objective import MatchingObjective
from ddkit_matching.pool import pairs, tasks
from torch import Tensor

from ddkit import DdkitError, HeldPool, Run, made_up_member

SMALL = {"match": "characteristic", "networks": "pairs", "frequencies": 64}


def made(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def unit(features: Tensor) -> np.ndarray:
    values = features.numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def complex_function(features: Tensor, frequencies: Tensor) -> np.ndarray:
    return np.exp(1j * unit(features) @ frequencies.numpy().T).mean(0)


def pool_of(run: Run, *epochs: tuple[int, int]) -> HeldPool:
    """Return a pool with a network for each (training, epoch)."""
    networks = [
        run.network(run.generator("member", task, epoch)).eval().requires_grad_(False)
        for task, epoch in epochs
    ]
    members = [made_up_member(f"pair-{task}", epoch) for task, epoch in epochs]
    return HeldPool(run, networks, members)


def test_amplitude_and_phase_add_up_to_the_squared_difference():
    real, own, frequencies = made(7, 5), made(4, 5, seed=1), 3 * made(50, 5, seed=2)
    amplitude, phase = differences(function(real, frequencies), function(own, frequencies))
    apart = complex_function(real, frequencies) - complex_function(own, frequencies)
    assert np.abs((amplitude + phase).numpy() - np.abs(apart) ** 2).max() < 1e-12
    lengths = (
        np.abs(complex_function(real, frequencies)),
        np.abs(complex_function(own, frequencies)),
    )
    assert np.abs(amplitude.numpy() - (lengths[0] - lengths[1]) ** 2).max() < 1e-12


@pytest.mark.parametrize("phase", [0.5, 0.2, 1.0, 0.0])
def test_the_loss_is_the_mean_root_of_the_weighted_differences(phase):
    real, own, frequencies = made(7, 5), made(4, 5, seed=1), 3 * made(50, 5, seed=2)
    ours, theirs = complex_function(own, frequencies), complex_function(real, frequencies)
    turn = 2 * (np.abs(ours) * np.abs(theirs) - (ours * theirs.conj()).real)
    whole = (1 - phase) * (np.abs(ours) - np.abs(theirs)) ** 2 + phase * np.maximum(turn, FLOOR)
    found = float(characteristic_loss(real, own, frequencies, phase))
    assert found == pytest.approx(np.sqrt(whole).mean(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_sets_the_floor_is_left_and_gradients_are_finite(dtype):
    real, frequencies = made(6, 5).to(dtype), made(30, 5, seed=1).to(dtype)
    own = real.clone().requires_grad_()
    loss = characteristic_loss(real, own, frequencies, 0.5)
    loss.backward()
    assert own.grad.isfinite().all()
    if dtype == torch.float64:
        assert loss.item() == pytest.approx((0.5 * 1e-12) ** 0.5, rel=1e-3)


def test_two_features_are_apart_by_a_sine():
    pair, frequencies = made(2, 3), 5 * made(40, 3, seed=1)
    found = torch.stack(differences(*(function(pair[i : i + 1], frequencies) for i in (0, 1)))).sum(
        0
    )
    delta = unit(pair)[0] - unit(pair)[1]
    expected = 2 * np.abs(np.sin(frequencies.numpy() @ delta / 2))
    assert np.abs(found.sqrt().numpy() - expected).max() < 1e-7


def test_the_mean_over_many_frequencies_is_the_discrepancy_of_the_gaussian_kernel():
    real, own, count = made(9, 4), made(5, 4, seed=1) + 1, 20_000
    frequencies = made(count, 4, seed=2)
    found = sum(differences(function(real, frequencies), function(own, frequencies))).mean()
    x, y = unit(real), unit(own)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(2) / 2).mean()

    expected = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    assert float(found) == pytest.approx(expected, abs=3 / count**0.5)
    assert expected > 10 * 3 / count**0.5


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_at_both_ends_a_network_between_two_is_one_of_them(run, norm):
    small = run(network=f"convnet:depth=2:width=4:norm={norm}")
    before, after, own = (small.network(small.generator("n", i)).eval() for i in range(3))
    inputs = small.resident.inputs(torch.arange(5))
    for share, end in ((1.0, before), (0.0, after)):
        interpolate(own, before, after, share)
        assert torch.equal(own(inputs), end(inputs))
    interpolate(own, before, after, 0.25)
    for name, weight in own.named_parameters():
        first, last = before.get_parameter(name), after.get_parameter(name)
        torch.testing.assert_close(weight, 0.25 * first + 0.75 * last)


def test_a_step_draws_a_pair_and_a_share_and_sums_both_losses(made_up):
    run = made_up(**SMALL, calibration=2.0)
    pool = pool_of(run, (0, 0), (0, 3), (1, 0), (1, 3))
    pool.fresh = lambda: pool
    objective = MatchingObjective(run, pool)
    images = objective.initialise(objective.shards()[0])["images"].value.requires_grad_()
    for step in range(3):
        loss = objective.loss(objective.shards()[0], {"images": images}, step)
        draw = run.generator("pair", 0, step)
        which = int(torch.randint(2, (), generator=draw))
        share = float(torch.rand((), generator=draw))
        trained = pool.network(2 * which + 1)
        between = run.network(run.generator("any"))
        interpolate(between, pool.network(2 * which), trained, share)
        expected = torch.zeros(())
        for label in range(3):
            rows = (run.train.labels == label).nonzero().flatten()
            own = images[2 * label : 2 * label + 2]
            features = [
                between.flatten(between.features(x)) for x in (run.resident.inputs(rows), own)
            ]
            law = run.generator("frequencies", 0, step, label)
            frequencies = torch.randn(64, features[0].shape[1], generator=law)
            expected = expected + 300 * characteristic_loss(*features, frequencies, 0.5)
            expected = expected - 2.0 * trained(own).log_softmax(1)[:, label].mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        (found,) = torch.autograd.grad(loss, images)
        (slope,) = torch.autograd.grad(expected, images)
        assert (found - slope).norm() < 1e-3 * slope.norm()


def test_scales_are_1_at_first_and_learn_to_make_the_loss_large(made_up):
    run = made_up(**{**SMALL, "networks": "fresh"}, frequency_law="learned")
    objective = MatchingObjective(run)
    shard = objective.shards()[0]
    leaves = {name: leaf.value for name, leaf in objective.initialise(shard).items()}
    scales = {name: value for name, value in leaves.items() if name != "images"}
    law = [torch.Generator().manual_seed(0) for _ in range(2)]
    features = scales["scale_outer_bias"].shape[0]
    assert torch.equal(
        draw_frequencies(5, features, law[0], scales), draw_frequencies(5, features, law[1], {})
    )
    generator = torch.Generator().manual_seed(1)
    for name, value in scales.items():
        leaves[name] = value + 0.1 * torch.randn(value.shape, generator=generator)

    def lost(values: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        tensors = {name: value.clone().requires_grad_() for name, value in values.items()}
        loss = objective.loss(shard, tensors, 0)
        found = torch.autograd.grad(loss, list(tensors.values()))
        return loss.item(), dict(zip(tensors, found, strict=True))

    _, slopes = lost(leaves)
    for name in scales:  # as the loss itself says, a little further either way
        slope = slopes[name].norm()
        less, more = (
            lost({**leaves, name: leaves[name] + way * slopes[name] / slope})[0]
            for way in (-0.02, 0.02)
        )
        assert (more - less) / 0.04 == pytest.approx(-slope.item(), rel=0.05)


def test_the_mixture_has_scales_within_its_bounds():
    leaves = scale_leaves(6, torch.Generator().manual_seed(0), 1e-3)
    scales = {name: leaf.value for name, leaf in leaves.items()}
    scales["scale_outer_bias"] += 100
    found = draw_frequencies(4000, 6, torch.Generator().manual_seed(0), scales)
    assert found.std().item() == pytest.approx(10, rel=0.05)


def test_images_are_moved_by_adamw_and_kept_in_the_range_of_pixels(made_up, synthesised):
    run = made_up(
        match="characteristic",
        frequencies=16,
        optimiser="adamw",
        lr_images=0.05,
        clip=True,
        updates=1,
    )
    file = synthesised(run)
    moved = (run.space.encode(file["images"]) - run.space.encode(file["initial"])).abs()
    assert moved.max().item() == pytest.approx(0.05, rel=1e-3)  # Adam's first step, where not cut
    assert file["images"].min() >= -1e-6
    assert file["images"].max() <= 1 + 1e-6


def test_the_pool_is_networks_before_and_after_training_with_cutmix(made_up):
    run = made_up(**SMALL, members=2, train_epochs=6)
    made_tasks = tasks(run)
    assert [task.name for task in made_tasks] == ["pair-0000", "pair-0001"]
    recipe = run.options.recipe
    assert (recipe.cutmix, recipe.lr, recipe.momentum, recipe.weight_decay) == (
        0.5,
        0.01,
        0.9,
        5e-4,
    )
    factors = [recipe.factor(epoch) for epoch in (0, 3.9, 4, 4.9, 5, 5.9)]
    assert factors == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])
    assert tasks(made_up(match="characteristic")) == []


def test_pairs_are_found_in_the_pool_of_any_method_that_keeps_both_ends(made_up):
    run = made_up(**SMALL)
    pool = pool_of(run, (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 5), (2, 0))
    assert pairs(pool, run) == [(0, 2), (6, 5)]
    with pytest.raises(DdkitError, match="needs networks before and after their training"):
        pairs(pool_of(run, (0, 1), (0, 2)), run)
    pool.description["network"] = "resnet18"
    with pytest.raises(DdkitError, match="the pool's networks are resnet18"):
        pairs(pool, run)


def test_a_gradient_in_every_20th_step_of_adam_moves_an_image_by_the_root_of_20():
    """The translation of the rate: NCFM's code takes two steps per class, of ten classes."""
    image = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.AdamW([image], lr=1e-3, weight_decay=0)
    for step in range(1600):
        if step == 600:
            before = image.item()
        image.grad = torch.full((1,), float(step % 20 == 0), dtype=torch.float64)
        adam.step()
    assert (before - image.item()) / 50 == pytest.approx(1e-3 * 20**0.5, rel=0.02)
    std = 0.25  # of CIFAR-10's pixels: inputs are in its units
    assert NCFM.options["lr_images"] == pytest.approx(1e-3 * 20**0.5 / std, rel=0.02)
