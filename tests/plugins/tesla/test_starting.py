"""Where DATM starts: initial labels and images by hand, and the labels' gradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from ddkit_tesla.checking import check_run
from ddkit_tesla.experts import trajectories
from ddkit_tesla.matching import Batch, match
from ddkit_tesla.objective import TeslaObjective
from ddkit_tesla.relabelling import label
from ddkit_tesla.starting import mean_of_right, right_ones

from ddkit import DdkitError, Pool, Run, Synthetic
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pools.imported import import_replay
from ddkit.synthesis.initial import initial_inputs, initial_real, shuffled

CLASSES = torch.tensor([0, 1, 2])
EXPERTS = (  # what three experts say of three images
    torch.tensor([[4.0, 0, 0], [0.0, 6, 0], [9.0, 0, 0]]),  # the last one wrong
    torch.tensor([[0.0, 3, 0], [0.0, 2, 1], [0.0, 3, 0]]),  # the second one right
    torch.tensor([[2.0, 1, 0], [5.0, 0, 0], [0.0, 6, 3]]),  # the first one right
)


def test_labels_start_from_the_experts_that_are_right_or_from_all():
    found = mean_of_right(iter(EXPERTS), CLASSES)
    expected = torch.tensor([[3.0, 0.5, 0], [0.0, 4, 0.5], [3.0, 3, 1]])
    assert torch.allclose(found, expected)
    alone = mean_of_right(iter(EXPERTS[1:2]), CLASSES)
    assert torch.equal(alone, EXPERTS[1])
    assert found.isfinite().all()


ROWS = torch.tensor([70, 71, 72, 73, 74])
SAID = {  # logits of class 1 over class 0, of each expert, by row
    8: {70: -1.0, 71: 2.0, 72: -3.0, 73: 1.0, 74: -0.2},
    9: {70: -1.0, 71: 2.0, 72: 5.0, 73: 1.0, 74: -2.5},
}


def logits(member: int, rows: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[0.0, SAID[member][row]] for row in rows.tolist()])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [71]),
        (2, [71, 73]),
        (3, [71, 73, 72]),  # the next expert's
        # softplus(1) + softplus(1) = 2.63 is less than softplus(.2) + softplus(2.5) = 3.38
        (4, [71, 73, 72, 70]),
        (5, [71, 73, 72, 70, 74]),
    ],
)
def test_images_are_those_that_experts_get_right_in_their_order(monkeypatch, count, expected):
    for batch in (256, 2):
        monkeypatch.setattr("ddkit_tesla.starting.BATCH", batch)
        assert right_ones(ROWS, 1, count, [8, 9], logits).tolist() == expected


def test_no_more_images_are_looked_at_than_needed(monkeypatch):
    monkeypatch.setattr("ddkit_tesla.starting.BATCH", 2)
    asked = []

    def watched(member, rows):
        asked.append((member, rows.tolist()))
        return logits(member, rows)

    right_ones(ROWS, 1, 1, [8, 9], watched)
    assert asked == [(8, [70, 71])]


def opened(run: Run) -> Pool:
    return stage_pools.open_pool(run, "synthesis")


def last_members(pool: Pool) -> list[int]:
    return [expert[-1] for expert in trajectories(pool)]


SOFT = ("labels=learned", "label_start=experts")


def test_a_run_starts_with_what_its_experts_say_at_their_last_epoch(tesla_run):
    run = tesla_run(*SOFT, "experts=3", "choose=correct", "train_lr=0.05", ipc=3)
    pool = opened(run)
    objective = TeslaObjective(run, pool)
    shard = objective.shards()[0]
    leaves = objective.initialise(shard)
    images, found = leaves["images"].value, leaves["labels"].value
    with torch.no_grad():
        said = torch.stack([pool.network(member)(images) for member in last_members(pool)])
    for row, target in enumerate(shard.classes.tolist()):
        right = [each[row] for each in said if int(each[row].argmax()) == target]
        expected = torch.stack(right or list(said[:, row])).mean(0)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)
    assert right_first(run, pool, images)
    one = tesla_run(*SOFT, "experts=3", "teachers=1", "train_lr=0.05", ipc=3)
    leaves = TeslaObjective(one, pool).initialise(shard)
    with torch.no_grad():
        expected = pool.network(last_members(pool)[0])(leaves["images"].value)
    torch.testing.assert_close(leaves["labels"].value, expected, rtol=1e-4, atol=1e-4)


def right_first(run: Run, pool: Pool, images: torch.Tensor) -> bool:
    """Return whether the images are the first ones that experts classify right, class by class."""
    found = []
    for target in range(10):
        rows, taken = shuffled(run, target).tolist(), []
        inputs = run.space.encode(run.train.take(torch.tensor(rows)).float() / 255)
        for member in last_members(pool):
            with torch.no_grad():
                hits = (pool.network(member)(inputs).argmax(1) == target).tolist()
            taken += [row for row, hit in zip(rows, hits, strict=True) if hit and row not in taken]
        assert len(taken) >= run.ipc
        found += taken[: run.ipc]
    chosen = run.space.encode(run.train.take(torch.tensor(found)).float() / 255)
    return torch.equal(images, chosen)


def test_groups_start_from_the_same_images_as_the_whole(tesla_run):
    run = tesla_run("choose=correct", ipc=4)
    objective = TeslaObjective(run, opened(run))
    (whole,) = objective.shards()
    images = objective.initialise(whole)["images"].value
    assert not torch.equal(images, initial_inputs(run, whole))
    divided = replace(run, config=run.config.model_copy(update={"groups": 2}))
    for shard in TeslaObjective(divided, opened(run)).shards():
        part = TeslaObjective(divided, opened(run)).initialise(shard)["images"].value
        assert torch.equal(part, images[shard.slots])


def test_chosen_images_need_real_ones(tesla_run):
    run = tesla_run("choose=correct", init="noise")
    with pytest.raises(DdkitError, match=r"^choose=correct chooses among real images, but --init "):
        check_run(run)
    check_run(tesla_run("choose=random", init="noise"))


def test_random_images_get_the_labels_that_learned_ones_start_from(tesla_run):
    run = tesla_run(*SOFT, "experts=2")
    objective = TeslaObjective(run, opened(run))
    shard = objective.shards()[0]
    start = objective.initialise(shard)["labels"].value
    images = Synthetic(initial_real(run), shard.classes)
    found = label(run, opened(run), images).targets(torch.arange(10), 0)
    torch.testing.assert_close(found, start, rtol=1e-3, atol=1e-3)
    learned = replace(images, label_logits=torch.randn(10, 10))
    found = label(run, opened(run), learned).targets(torch.arange(10), 0)
    assert torch.equal(found, learned.label_logits)


def test_the_gradient_by_the_logits_is_autograds_through_two_steps():
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    start, target, images, logits = drawn(6, 3), drawn(6, 3), drawn(5, 1, 2, 3), drawn(5, 3)
    rate = torch.tensor(0.3, dtype=torch.float64)
    batches = [torch.tensor([0, 1, 4]), torch.tensor([2, 3])]

    def network(parameters, inputs):
        return inputs.flatten(1) @ parameters[0]

    logits.requires_grad_()
    labels = logits.softmax(1)
    steps = [Batch(rows) for rows in batches]
    found = match(network, [start], [target], steps, images, labels, rate)
    (gradient,) = torch.autograd.grad(labels, logits, found.labels)
    student = start.clone().requires_grad_()
    for rows in batches:
        loss = -(logits.softmax(1)[rows] * network([student], images[rows]).log_softmax(1)).sum(1)
        (slope,) = torch.autograd.grad(loss.mean(), student, create_graph=True)
        student = student - rate * slope
    loss = ((student - target) ** 2).sum() / ((start - target) ** 2).sum()
    (expected,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)
    assert F.cosine_similarity(gradient.flatten(), expected.flatten(), 0) > 0.999


def test_datm_distils_in_one_command_with_labels_of_its_own(tesla_run):
    small = ("experts=2", "train_epochs=2", "max_start_epoch=1", "expert_epochs=1", "together=1")
    run = tesla_run(*small, "student_steps=2", "iterations=2", "skip_above=5", method="datm")
    asked = {"train_sharpness": 0.01, "momentum_labels": 0.9, "choose": "correct"}
    assert {name: run.config.options[name] for name in asked} == asked
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "soft"
    assert distilled.label_logits.shape == (10, 10)


@pytest.mark.parametrize("method", ["ftd", "datm"])
def test_imported_experts_and_groups_serve_both_methods(tesla_run, tmp_path, method):
    small = ("max_start_epoch=1", "expert_epochs=1", "student_steps=2", "iterations=2")
    plain = tesla_run(method=method)

    def snapshot(*indices: int) -> list[torch.Tensor]:
        network = plain.network(plain.generator("made", *indices))
        return [parameter.detach() for parameter in network.parameters()]

    buffer = [[snapshot(expert, epoch) for epoch in (0, 1)] for expert in (0, 1)]
    torch.save(buffer, tmp_path / "buffer.pt")
    constants = {"mean": [0.25], "std": [0.5]}
    files, network = [tmp_path / "buffer.pt"], plain.config.network
    import_replay(files, plain.config.data, network, name="mine", **constants)
    common = {"pool": "mine", "trust_base": True, "groups": 2, "ipc": 2}
    run = tesla_run(*small, "skip_above=1e9", method=method, **common)
    distilled = load(pipeline.distill(run.config, run.folder))
    assert len(distilled) == 20
    assert len(list(run.folder.glob("shards/*"))) == 2
    assert distilled.labels.kind == ("hard" if method == "ftd" else "soft")
