"""The synthesis: its leaves, its draws, its loss step by step, and what it leaves."""

import pytest
import torch
import torch.nn.functional as F
from ddkit_regression.objective import RegressionObjective, cosine
from ddkit_regression.ridge import half_squares, predicted, relative
from ddkit_regression.tangent_fc import tangent_kernel

from ddkit import RegressionTargets, group_shards, last_linear_input
from ddkit.runtime.arithmetic import EXACT
from ddkit.synthesis.engine import take_step, values
from ddkit.synthesis.leaves import LeafState


def begun(run):
    objective = RegressionObjective(run)
    shard = group_shards(run, 1)[0]
    leaves = {n: LeafState(leaf, run.device) for n, leaf in objective.initialise(shard).items()}
    return objective, shard, leaves


def batch(run, step=0):
    draw = run.generator("real", 0, step)
    rows = torch.randperm(len(run.train), generator=draw)[: run.options.batch_real]
    return run.resident.inputs(rows), run.train.labels[rows]


@pytest.mark.parametrize("flip", [False, True])
def test_a_step_of_frepo_is_that_of_a_plain_loop(made_up, flip):
    run = made_up(
        kernel="features", margin=1.0, flip=flip, optimiser="adam", lr_images=0.1, networks=1
    )
    objective, shard, leaves = begun(run)
    images = leaves["images"].value.detach().clone().requires_grad_()
    targets = leaves["targets"].value.detach().clone().requires_grad_()
    network = run.network(run.generator("network at first", 0, 0)).eval()
    real, labels = batch(run)
    x = torch.cat([images, images.flip(3)]) if flip else images
    y = torch.cat([targets, targets]) if flip else targets
    own, theirs = (last_linear_input(network, each).double() for each in (x, real))
    kernel = own @ own.T
    ridge = 1e-6 * kernel.diagonal().mean() * torch.eye(len(x)).double()
    found = theirs @ own.T @ torch.linalg.solve(kernel + ridge, y.double())
    truth = F.one_hot(labels, 3) - 1 / 3
    largest = targets.sort(1).values
    gap = (largest[:, -1] - largest[:, -2]).clamp_max(1 / 3).mean()
    loss = 0.5 * (found - truth).square().sum() / len(labels) - gap
    optimiser = torch.optim.Adam([images], lr=0.1)
    loss.backward()
    optimiser.step()
    value = take_step(objective, shard, leaves, 0, EXACT)
    torch.testing.assert_close(value.double(), loss.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(leaves["images"].value.detach(), images.detach(), rtol=0, atol=2e-3)


def test_kip_is_exact_in_float64(made_up):
    run = made_up(kernel="tangent-fc", depth=2, targets="fixed")
    objective, shard, leaves = begun(run)
    assert set(leaves) == {"images"}
    tensors = {name: leaf.tensor(None) for name, leaf in leaves.items()}
    own, (real, labels) = tensors["images"].flatten(1).double(), batch(run)
    kernel = tangent_kernel(own, own, 2)
    cross = tangent_kernel(real.flatten(1).double(), own, 2)
    first = (F.one_hot(shard.classes, 3) - 1 / 3).double()
    expected = half_squares(
        predicted(cross, kernel, first, relative(1e-6, kernel)), F.one_hot(labels, 3) - 1 / 3
    )
    assert objective.loss(shard, tensors, 0).item() == pytest.approx(expected.item(), rel=1e-6)
    targets = objective.decode(shard, values(leaves)).label_logits
    torch.testing.assert_close(targets, first.float())


def test_a_balanced_batch_has_as_many_of_each_class(made_up):
    run = made_up(balanced=True, batch_real=12)
    objective, shard, _ = begun(run)
    rows = objective._drawn(shard, 0)
    assert run.train.labels[rows].bincount().tolist() == [4, 4, 4]
    assert len(rows.unique()) == 12
    assert not torch.equal(rows, objective._drawn(shard, 1))


def test_first_targets_are_centred_and_frepos_are_scaled(made_up):
    for scaled, factor in ((False, 1.0), (True, (3 / 10) ** -0.5)):
        _, shard, leaves = begun(made_up(scale_targets=scaled))
        expected = factor * (F.one_hot(shard.classes, 3).float() - 1 / 3)
        torch.testing.assert_close(leaves["targets"].value, expected)


def test_the_temperature_is_learned_where_the_loss_is_of_probabilities(made_up):
    run = made_up(kernel="random", loss="cross-entropy", optimiser="adabelief", networks=1)
    objective, shard, leaves = begun(run)
    assert leaves["temperature"].value == 0
    take_step(objective, shard, leaves, 0, EXACT)
    assert leaves["temperature"].value.abs().item() == pytest.approx(1e-2, rel=0.2)
    assert "temperature" not in begun(made_up())[2]


@pytest.mark.parametrize("inner", ["exact", "steps"])
def test_rcig_lowers_its_loss(made_up, inner):
    run = made_up(
        kernel="body",
        inner=inner,
        loss="cross-entropy",
        margin=0.5,
        ridge=5e-3,
        optimiser="adabelief",
        average=0.9,
        lr_images=0.01,
        lr_targets=0.01,
        batch_real=24,
        updates=25,
    )
    objective, shard, leaves = begun(run)
    losses = [take_step(objective, shard, leaves, step, EXACT).item() for step in range(25)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert not torch.equal(leaves["images"].result, leaves["images"].value.detach())


def test_the_rate_falls_to_a_tenth():
    assert cosine(0) == pytest.approx(1)
    assert cosine(0.5) == pytest.approx(0.55)
    assert cosine(1) == pytest.approx(0.1)


def test_images_without_targets_of_their_own_get_those_of_their_classes(made_up):
    from ddkit_regression import relabel

    from ddkit import Synthetic

    run = made_up()
    classes = torch.tensor([2, 0])
    found = relabel(run, None, Synthetic(torch.zeros(2, *run.shape), classes))
    assert isinstance(found, RegressionTargets)
    torch.testing.assert_close(found.values, F.one_hot(classes, 3).float() - 1 / 3)
    own = torch.randn(2, 3)
    kept = relabel(run, None, Synthetic(torch.zeros(2, *run.shape), classes, label_logits=own))
    assert torch.equal(kept.values, own)
