"""One iteration: its segment, batches, labels, loss and gradients, against plain loops."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from ddkit_tesla.experts import trajectories
from ddkit_tesla.objective import TeslaObjective, one_hot_logits
from torch import Tensor
from torch.func import functional_call

from ddkit import DdkitError, Pool, Run
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.pipeline import stages as stage_pools
from ddkit.synthesis.leaves import LeafState

pytestmark = pytest.mark.usefixtures("shared_pools")
ONE_SEGMENT = ("experts=1", "max_start_epoch=1", "expert_epochs=2")  # from epoch 0 to 2 of 3
PLAIN = (*ONE_SEGMENT, "augmentation=none")


def objective_of(run: Run) -> TeslaObjective:
    return TeslaObjective(run, stage_pools.open_pool(run, "synthesis"))


def leaves_of(objective: TeslaObjective) -> dict[str, Tensor]:
    fresh = objective.initialise(objective.shards()[0])
    return {name: leaf.value.clone().requires_grad_() for name, leaf in fresh.items()}


def slopes_of(objective: TeslaObjective, leaves: dict[str, Tensor], step: int = 0) -> list[Tensor]:
    """Return the loss of a step and its gradients."""
    loss = objective.loss(objective.shards()[0], leaves, step)
    return [loss.detach(), *torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)]


def by_hand(
    run: Run,
    pool: Pool,
    leaves: dict[str, Tensor],
    labels: Tensor,
    rows: list[Tensor],
    members: tuple[int, int],
    step: int = 0,
) -> list[Tensor]:
    """Return the loss of a step and its gradients, in float64, by autograd through all of it."""
    network = run.network(torch.Generator()).double()
    start, target = (
        [pool.state(member)[name].double() for name, _ in network.named_parameters()]
        for member in members
    )
    student = [tensor.clone().requires_grad_() for tensor in start]
    names = [name for name, _ in network.named_parameters()]
    for number, chosen in enumerate(rows):
        inputs = leaves["images"][chosen].double()
        if run.options.augmentation == "dsa":
            random = run.generator("student dsa", step, number)
            inputs = apply_dsa(inputs, draw_dsa(len(chosen), (8, 8), random, flip=False))
        logits = functional_call(network, dict(zip(names, student, strict=True)), inputs)
        targets = labels[chosen] if labels.dtype == torch.int64 else labels[chosen].double()
        loss = F.cross_entropy(logits, targets)
        slopes = torch.autograd.grad(loss, student, create_graph=True)
        rate = leaves["learning_rate"].double()
        student = [own - rate * g for own, g in zip(student, slopes, strict=True)]
    gap, path = (
        sum(((own - goal) ** 2).sum() for own, goal in zip(own_, target, strict=True))
        for own_ in (student, start)
    )
    loss = gap / path
    return [loss.detach(), *torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert other.abs().sum() > 0
        assert (one - other).norm() < 1e-4 * other.norm()


def rows_seen(
    objective: TeslaObjective, leaves: dict[str, Tensor], step: int = 0
) -> list[list[int]]:
    """Return the rows of the set that each student step sees, in a run without augmentation."""
    seen: list[list[int]] = []
    student, images = objective.student, leaves["images"].detach()

    def watched(parameters, inputs):
        same = (inputs.detach().unsqueeze(1) == images.unsqueeze(0)).flatten(2).all(2)
        seen.append(same.nonzero()[:, 1].tolist())
        return student(parameters, inputs)

    objective.student = watched
    drawn = objective.draw(objective.shards()[0], step)
    given = {n: leaf[drawn[n]] if n in drawn else leaf for n, leaf in leaves.items()}
    slopes_of(objective, {n: tensor.detach().requires_grad_() for n, tensor in given.items()}, step)
    objective.student = student
    return seen[: objective.options.student_steps]  # the second pass repeats them


def rows_of(objective: TeslaObjective, leaves: dict[str, Tensor], step: int = 0) -> list[Tensor]:
    """Return the rows of each student step, from a run that differs in augmentation only."""
    bare = objective.options.model_copy(update={"augmentation": "none", "micro_batch": 0})
    twin = TeslaObjective(replace(objective.run, options=bare), objective.pool)
    return tensors(rows_seen(twin, leaves, step))


def tensors(rows: list[list[int]]) -> list[Tensor]:
    return [torch.tensor(part) for part in rows]


ALL = [list(range(10))] * 3


@pytest.mark.parametrize("gradient", ["exact", "paper"])
def test_one_iteration_is_one_step_of_plain_gradient_descent(tesla_run, synthesised, gradient):
    settings = ("iterations=1", "lr_images=20", "lr_lr=1e-2", "labels=hard", "student_steps=1")
    run = tesla_run(*ONE_SEGMENT, *settings, f"gradient={gradient}")
    objective = objective_of(run)
    leaves = leaves_of(objective)
    classes = objective.shards()[0].classes
    rows = rows_of(objective, leaves)
    loss, images, rate = by_hand(run, objective.pool, leaves, classes, rows, (0, 2))
    file = synthesised(run)
    assert file["losses"].tolist() == pytest.approx([float(loss)], rel=1e-4)
    expected = run.space.decode(leaves["images"].detach() - 20 * images)
    torch.testing.assert_close(file["images"], expected, rtol=1e-4, atol=1e-5)
    assert float(file["learning_rate"]) == pytest.approx(0.05 - 1e-2 * float(rate), rel=1e-5)
    assert abs(1e-2 * float(rate)) > 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        ("labels=target", "gradient=exact"),
        ("labels=learned", "micro_batch=3"),
        ("labels=hard", "snapshots=host", "snapshot_every=0"),
    ],
)
def test_the_loss_of_a_step_is_that_of_a_student_unrolled_by_hand(tesla_run, settings):
    """Each student step has an augmentation of its own, and so has each iteration."""
    run = tesla_run(*ONE_SEGMENT, *settings, "student_steps=4")
    objective = objective_of(run)
    leaves = leaves_of(objective)
    labels = expected_labels(run, objective, leaves, 2)
    for step in (0, 3):
        rows = rows_of(objective, leaves, step)
        found = slopes_of(objective, leaves, step)
        assert_close(found, by_hand(run, objective.pool, leaves, labels, rows, (0, 2), step))
        labels = expected_labels(run, objective, leaves, 2)


def expected_labels(
    run: Run, objective: TeslaObjective, leaves: dict[str, Tensor], epoch: int
) -> Tensor:
    """Return the labels of the whole set, those of an expert from its network at an epoch."""
    if run.options.labels == "hard":
        return objective.shards()[0].classes
    if run.options.labels == "learned":
        return leaves["labels"].softmax(1)
    network = run.network(torch.Generator()).eval()
    network.load_state_dict(objective.pool.state(epoch))
    return network(leaves["images"].detach()).softmax(1).detach()


@pytest.mark.parametrize(("kind", "epoch"), [("target", 2), ("last", 3)])
def test_labels_of_an_expert_are_those_of_its_epoch_on_images_without_augmentation(
    tesla_run, kind, epoch
):
    run = tesla_run(*ONE_SEGMENT, f"labels={kind}", "student_steps=4")
    objective = objective_of(run)
    leaves = leaves_of(objective)
    rows = rows_of(objective, leaves)
    found = slopes_of(objective, leaves)

    def expected(epoch: int) -> list[Tensor]:
        labels = expected_labels(run, objective, leaves, epoch)
        return by_hand(run, objective.pool, leaves, labels, rows, (0, 2))

    assert_close(found, expected(epoch))
    for other in {0, 1, 2, 3} - {epoch}:  # the tolerance tells epochs apart
        wrong = expected(other)[1]
        assert (found[1] - wrong).norm() > 1e-3 * wrong.norm()


def test_labels_of_an_expert_are_made_anew_for_the_images_of_each_iteration(tesla_run):
    objective = objective_of(tesla_run(*PLAIN, "student_steps=1"))
    leaves = leaves_of(objective)
    loss = slopes_of(objective, leaves)[0]
    for kind in ("target", "hard"):
        run = tesla_run(*PLAIN, "student_steps=1", f"labels={kind}")
        moved = {**leaves, "images": (leaves["images"].detach() * 1.5).requires_grad_()}
        labels = expected_labels(run, objective, moved, 2)
        expected = by_hand(run, objective.pool, moved, labels, tensors(ALL[:1]), (0, 2))
        assert expected[0] != loss
        assert_close(slopes_of(TeslaObjective(run, objective.pool), moved), expected)


def test_segments_start_at_every_epoch_of_every_expert_below_the_largest(tesla_run):
    settings = ("labels=hard", "student_steps=1", "augmentation=none")
    run = tesla_run(*settings, "max_start_epoch=2", "expert_epochs=1", "experts=2")
    objective = objective_of(run)
    leaves, classes = leaves_of(objective), objective.shards()[0].classes
    segments = {
        (expert, start): (members[start], members[start + 1])
        for expert, members in enumerate(trajectories(objective.pool))
        for start in range(3)
    }
    losses = {
        key: float(by_hand(run, objective.pool, leaves, classes, tensors(ALL[:1]), pair)[0])
        for key, pair in segments.items()
    }
    found = []
    for step in range(24):
        loss = float(slopes_of(objective, leaves, step)[0])
        (segment,) = (key for key, other in losses.items() if loss == pytest.approx(other, 1e-5))
        found.append(segment)
    assert set(found) == set(itertools.product((0, 1), (0, 1)))  # and never from epoch 2


def test_every_image_is_seen_once_before_any_is_seen_twice(tesla_run):
    objective = objective_of(tesla_run(*PLAIN, "batch_syn=4", "student_steps=7", "labels=hard"))
    leaves = leaves_of(objective)
    rows = rows_seen(objective, leaves)
    assert [len(part) for part in rows] == [4, 4, 2, 4, 4, 2, 4]
    rounds = [list(itertools.chain(*rows[first : first + 3])) for first in (0, 3)]
    assert [sorted(seen) for seen in rounds] == [list(range(10))] * 2
    assert rounds[0] != rounds[1]  # in another order
    assert len(set(rows[6])) == 4
    other = rows_seen(objective, leaves, step=1)
    assert other != rows
    assert rows_seen(objective, leaves, step=1) == other


@pytest.mark.parametrize("size", [0, 10, 99])
def test_batches_as_large_as_the_set_are_the_set(tesla_run, size):
    objective = objective_of(tesla_run(*PLAIN, f"batch_syn={size}", "labels=hard"))
    assert objective.draw(objective.shards()[0], 0) == {}
    rows = rows_seen(objective, leaves_of(objective))
    assert [sorted(part) for part in rows] == [list(range(10))] * 3


@pytest.mark.parametrize("labels", ["hard", "target", "learned"])
def test_an_iteration_waits_for_nothing_that_it_sends_to_the_device(tesla_run, away, labels):
    run = tesla_run(*PLAIN, f"labels={labels}", "student_steps=2", "batch_syn=3")
    pool = stage_pools.open_pool(run, "synthesis")
    objective = TeslaObjective(replace(run, device=away.device), Pool.open(pool.folder, "meta"))
    shard = objective.shards()[0]
    rows = objective.draw(shard, 0)
    leaves = {
        name: LeafState(leaf, away.device).tensor(rows.get(name))
        for name, leaf in objective.initialise(shard).items()
    }
    away.waited.clear()
    objective.loss(shard, leaves, 0).backward()  # "meta" raises where a value would be read
    assert all(leaf.grad is not None for leaf in leaves.values())
    assert len(away.sent) > 10
    assert away.waited == []


@pytest.mark.parametrize("labels", ["hard", "target", "learned"])
def test_the_gradient_of_drawn_images_is_that_of_the_whole_set(tesla_run, labels):
    run = tesla_run(*PLAIN, "batch_syn=3", "student_steps=2", f"labels={labels}")
    objective = objective_of(run)
    leaves = leaves_of(objective)
    rows = rows_seen(objective, leaves)
    drawn = torch.cat(tensors(rows)).unique()
    targets = expected_labels(run, objective, leaves, 2)
    _, images, *others = by_hand(run, objective.pool, leaves, targets, tensors(rows), (0, 2))
    picked = {name: leaf.detach() for name, leaf in leaves.items()}
    for name, indices in objective.draw(objective.shards()[0], 0).items():
        assert torch.equal(indices, drawn)
        picked[name] = picked[name][drawn]
    found = slopes_of(objective, {n: leaf.requires_grad_() for n, leaf in picked.items()})
    expected = [images[drawn], others[0], *(part[drawn] for part in others[1:])]
    assert_close(found[1:], expected)
    assert not images[[row for row in range(10) if row not in drawn.tolist()]].any()


def test_logits_of_a_confidence():
    logits = one_hot_logits(torch.tensor([1, 0]), 4, 0.7)
    expected = torch.tensor([[0.1, 0.7, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]])
    torch.testing.assert_close(logits.softmax(1), expected)
    assert one_hot_logits(torch.tensor([0]), 1, 0.7).tolist() == [[0.0]]


def test_experts_of_another_network_are_refused(tesla_run):
    pool = stage_pools.open_pool(tesla_run(network="convnet:depth=2:width=4"), "synthesis")
    with pytest.raises(DdkitError) as error:
        TeslaObjective(tesla_run(network="convnet:depth=1:width=4"), pool)
    line = str(error.value)
    assert "the pool's experts are of the network convnet:depth=2:width=4" in line
    assert "the student is convnet:depth=1:width=4" in line
    assert "use --network convnet:depth=2:width=4" in line
    TeslaObjective(tesla_run(network="convnet:width=4:depth=2"), pool)  # the same, said otherwise
    pool.members = (*pool.members[:-1], replace(pool.members[-1], network="resnet18"))
    with pytest.raises(DdkitError, match=r"of the network convnet:depth=2:width=4, resnet18, but"):
        TeslaObjective(tesla_run(network="convnet:depth=2:width=4"), pool)


BATCH_NORM = "convnet:depth=1:width=8:norm=batch"


def test_batch_norms_in_parts_of_a_batch_are_refused(tesla_run):
    run = tesla_run("micro_batch=2", network=BATCH_NORM)
    with pytest.raises(DdkitError, match="this network has batch norms, whose statistics need the"):
        objective_of(run)
    with pytest.raises(DdkitError, match="--set micro_batch=0"):
        objective_of(run)


@pytest.mark.parametrize("labels", ["hard", "target"])
def test_batch_norms_are_matched_with_the_statistics_of_whole_batches(tesla_run, labels):
    """The expert that labels uses its running statistics, and keeps them as they are."""
    run = tesla_run(*PLAIN, f"labels={labels}", network=BATCH_NORM)
    objective = objective_of(run)
    leaves = leaves_of(objective)
    targets = expected_labels(run, objective, leaves, 2)
    expected = by_hand(run, objective.pool, leaves, targets, tensors(ALL), (0, 2))
    for _ in range(2):
        assert_close(slopes_of(objective, leaves), expected)
