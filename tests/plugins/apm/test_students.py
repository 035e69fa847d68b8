"""A student's training against a plain loop: batches, momentum, decay, schedule, checkpoints."""

from itertools import pairwise

import pytest
import torch
from ddkit_apm.matching import checkpoint_epochs
from ddkit_apm.students import as_function, train_student
from torch import Tensor, nn

from ddkit import Run
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.runtime.seeds import generator

SEED = 7


def made(run: Run, count: int = 10) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a fresh student, a mini-batch and logits for it."""
    random = torch.Generator().manual_seed(0)
    network = run.network(torch.Generator().manual_seed(1))
    logits = 3 * torch.randn(count, 10, generator=random)
    return network, run.resident.inputs(torch.arange(count)), logits


def trained(run: Run, count: int = 10) -> list[dict[str, Tensor]]:
    return train_student(run, *made(run, count), SEED)


DISTANCES = {
    "l1": lambda target, guess: (target - guess).abs().sum() / target.numel(),
    "l2": lambda target, guess: ((target - guess) ** 2).sum() / target.numel(),
    "kl": lambda target, guess: (
        (target.softmax(1) * (target.softmax(1) / guess.softmax(1)).log()).sum() / len(target)
    ),
    "cosine": lambda target, guess: (
        sum(1 - t @ g / (t.norm() * g.norm()) for t, g in zip(target, guess, strict=True))
        / len(target)
    ),
}


def by_hand(
    run: Run,
    sizes: list[int],
    *,
    lr: float = 0.02,
    momentum: float = 0.9,
    decay: float = 5e-4,
    distance: str = "l1",
    dsa: bool = False,
) -> list[dict[str, Tensor]]:
    """Return a student after each epoch of plain SGD on batches of these sizes, in their order."""
    network, inputs, logits = made(run, sum(sizes))
    parameters = list(network.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    epochs, states, step = run.options.student_epochs, [], 0
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator(SEED, "order", epoch))
        for number, rows in enumerate(order.split(sizes)):
            seen = inputs[rows]
            if dsa:
                random = generator(SEED, "dsa", epoch, number)
                seen = apply_dsa(seen, draw_dsa(len(seen), (8, 8), random, flip=False))
            loss = DISTANCES[distance](logits[rows], network(seen))
            slopes = torch.autograd.grad(loss, parameters)
            rate = lr * (0.1 if step >= epochs * len(sizes) / 2 else 1.0)
            with torch.no_grad():
                for p, g, v in zip(parameters, slopes, velocity, strict=True):
                    v.copy_(momentum * v + g + decay * p)
                    p.copy_(p - rate * v)
            step += 1
        states.append({name: t.clone() for name, t in network.state_dict().items()})
    return states


def assert_same(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, tensor in other.items():
            torch.testing.assert_close(one[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("settings", "sizes", "options"),
    [
        ((), [10], {}),
        (("student_batch=4",), [4, 4, 2], {}),
        (("student_batch=3",), [3, 3, 4], {}),  # a last batch of one image joins the one before
        (("student_batch=5", "student_epochs=3"), [5, 5], {}),  # the middle is within an epoch
        (
            ("lr_student=0.05", "student_momentum=0", "student_decay=0.1"),
            [10],
            {"lr": 0.05, "momentum": 0.0, "decay": 0.1},
        ),
        (("distance=l2",), [10], {"distance": "l2"}),
        (("distance=kl",), [10], {"distance": "kl"}),
        (("distance=cosine",), [10], {"distance": "cosine"}),
        # l2 feels how large the logits are, l1 which sign a difference has
        (
            ("student_augmentation=dsa", "student_batch=4", "distance=l2"),
            [4, 4, 2],
            {"dsa": True, "distance": "l2"},
        ),
    ],
)
def test_checkpoints_are_those_of_plain_sgd(apm_run, settings, sizes, options):
    run = apm_run("checkpoints=2", *settings)
    found, states = trained(run), by_hand(run, sizes, **options)
    kept = checkpoint_epochs(run.options.student_epochs, 2)
    assert_same(found, [states[epoch - 1] for epoch in kept])
    assert min(gap(one, other) for one, other in pairwise(states)) > 1e-4


def test_the_rate_falls_to_a_tenth_in_the_middle(apm_run):
    """Without momentum and decay, on one batch: a step moves along the last slope times its rate.

    L1's slope is of signs, which hardly change: the later steps are about ten times as short.
    """
    run = apm_run("checkpoints=4", "student_momentum=0", "student_decay=0", "lr_student=1e-4")
    states = [made(run)[0].state_dict(), *trained(run)]
    name = "classifier.bias"
    steps = [float((b[name] - a[name]).norm()) for a, b in pairwise(states)]
    assert steps[1] == pytest.approx(steps[0], rel=0.2)
    assert steps[2] == pytest.approx(steps[0] / 10, rel=0.2)
    assert steps[3] == pytest.approx(steps[0] / 10, rel=0.2)


def seen_by(run: Run) -> list[Tensor]:
    """Return the batches that a student saw, without augmentation of the images' rows."""
    network, inputs, logits = made(run)
    batches: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, given: batches.append(given[0].detach().clone()))
    train_student(run, network, inputs, logits, SEED)
    return batches


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(apm_run):
    run = apm_run("student_batch=4")
    batches = seen_by(run)
    assert [len(batch) for batch in batches] == [4, 4, 2] * 4
    images = made(run)[1]
    orders = []
    for epoch in range(4):
        served = torch.cat(batches[3 * epoch : 3 * epoch + 3])
        same = (served.unsqueeze(1) == images.unsqueeze(0)).flatten(2).all(2)
        orders.append(same.nonzero()[:, 1].tolist())
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_an_augmentation_changes_what_students_see_from_epoch_to_epoch(apm_run):
    plain = seen_by(apm_run())
    augmented = seen_by(apm_run("student_augmentation=dsa", "student_epochs=12"))
    assert [batch.shape for batch in augmented[:4]] == [batch.shape for batch in plain]
    assert sum(not torch.equal(a, b) for a, b in zip(augmented, plain, strict=False)) >= 3
    changed = {float(batch.double().sum()) for batch in augmented}
    assert len(changed) > 6  # operations and their parameters differ


def test_the_student_in_training_is_in_train_mode_and_has_statistics_of_its_batches(apm_run):
    run = apm_run(network="convnet:depth=1:width=4:norm=batch")
    network, inputs, logits = made(run)
    network.eval()
    found = train_student(run, network, inputs, logits, SEED)
    (name,) = (name for name in found[0] if name.endswith("running_mean"))
    start = made(run)[0].state_dict()[name]
    assert not torch.equal(found[0][name], start)
    assert not torch.equal(found[0][name], found[1][name])


def test_checkpoints_are_copies_that_further_training_does_not_change(apm_run):
    run = apm_run("checkpoints=4")
    network, inputs, logits = made(run)
    found = train_student(run, network, inputs, logits, SEED)
    assert min(gap(a, b) for a, b in pairwise(found)) > 1e-4
    before = {name: tensor.clone() for name, tensor in found[-1].items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert gap(found[-1], before) == 0
    assert not any(tensor.requires_grad for state in found for tensor in state.values())


def test_training_changes_neither_images_nor_logits(apm_run):
    run = apm_run("student_augmentation=dsa")
    network, inputs, logits = made(run)
    before = inputs.clone(), logits.clone()
    train_student(run, network, inputs, logits, SEED)
    assert torch.equal(inputs, before[0])
    assert torch.equal(logits, before[1])


def test_the_same_seed_trains_the_same_student_and_another_another(apm_run):
    run = apm_run("student_batch=4")
    first, again = trained(run), trained(run)
    assert all(gap(a, b) == 0 for a, b in zip(first, again, strict=True))
    other = train_student(run, *made(run), SEED + 1)
    assert gap(first[0], other[0]) > 1e-4


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_checkpoint_as_a_function_is_the_network_with_its_weights_in_eval_mode(apm_run, norm):
    run = apm_run(network=f"convnet:depth=2:width=8:norm={norm}")
    skeleton = run.network(torch.Generator()).eval().requires_grad_(False)
    inputs = made(run)[1]
    for state in trained(run):
        network = run.network(torch.Generator()).eval()
        network.load_state_dict(state)
        logits = as_function(skeleton, state)(inputs)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, network(inputs).detach())
        assert not torch.allclose(logits, skeleton(inputs))
