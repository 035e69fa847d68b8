"""Which members are drawn, which images belong together, and what a run needs."""

import pytest
import torch
from ddkit_teddy.matching import matched_layers
from ddkit_teddy.objective import TeddyObjective

from ddkit import DdkitError, Pool
from ddkit.pipeline import stages as stage_pools
from ddkit.synthesis.shards import class_balanced_shards


def objective_of(run) -> TeddyObjective:
    return TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))


def test_each_step_draws_anew_without_repetition(teddy_run):
    objective = objective_of(teddy_run("teachers=2"))
    shard = objective.shards()[0]
    draws = [tuple(objective.draw_members(shard, step)) for step in range(30)]
    assert all(len(set(draw)) == 2 for draw in draws)
    assert len({frozenset(draw) for draw in draws}) == 3  # all pairs of three members
    assert draws == [tuple(objective.draw_members(shard, step)) for step in range(30)]


def test_by_index_the_same_members_serve_a_shard_throughout(teddy_run):
    run = teddy_run("teachers=1", "draw=index", "batch_size=10", ipc=8)
    objective = objective_of(run)
    per_shard = [
        {tuple(objective.draw_members(shard, step)) for step in range(5)}
        for shard in objective.shards()
    ]
    assert all(len(draws) == 1 for draws in per_shard)
    assert len(set.union(*per_shard)) > 1  # other image indices, other members


def test_members_of_an_index_do_not_depend_on_the_slice_of_classes(teddy_run):
    run = teddy_run("teachers=1", "draw=index", "batch_size=4", ipc=3)
    objective = objective_of(run)
    by_index = {}
    for shard in objective.shards():
        index = int(shard.slots[0]) % 3
        by_index.setdefault(index, set()).add(tuple(objective.draw_members(shard, 0)))
    assert all(len(draws) == 1 for draws in by_index.values())


@pytest.mark.parametrize(
    ("ipc", "batch_size", "sizes"),
    [
        (5, 20, [20, 20, 10]),  # few classes: two image indices of all ten classes together
        (2, 4, [4, 3, 3, 4, 3, 3]),  # more classes than a batch: slices of one image index
        (1, 100, [10]),
    ],
)
def test_shards_are_class_balanced_batches(teddy_run, ipc, batch_size, sizes):
    run = teddy_run(ipc=ipc)
    shards = class_balanced_shards(run, batch_size)
    assert [len(shard) for shard in shards] == sizes
    slots = torch.cat([shard.slots for shard in shards])
    assert torch.equal(slots.sort().values, torch.arange(run.total))
    for shard in shards:
        assert torch.equal(shard.classes, shard.slots // ipc)
        counts = torch.bincount(shard.classes, minlength=10)
        assert set(counts[counts > 0].tolist()) in ({1}, {2})


def test_digits_are_never_flipped(teddy_run):
    objective = objective_of(teddy_run("augmentation=flip"))
    images = torch.rand(10, 1, 8, 8)
    assert objective.augmented(objective.shards()[0], images, 0) is images


def test_crops_are_drawn_per_image_and_differentiable(teddy_run):
    objective = objective_of(teddy_run("augmentation=rrc"))
    picture = torch.rand(1, 1, 8, 8).expand(10, 1, 8, 8).clone().requires_grad_()
    seen = objective.augmented(objective.shards()[0], picture, 0)
    assert len({tuple(row.flatten().tolist()) for row in seen.detach()}) > 5
    seen.sum().backward()
    assert picture.grad.abs().sum() > 0


def test_dsa_is_drawn_per_image_and_differentiable(teddy_run):
    work = objective_of(teddy_run("augmentation=dsa"))
    shard = work.shards()[0]
    images = torch.rand(1, 1, 8, 8).expand(10, 1, 8, 8).clone().requires_grad_()
    seen = work.augmented(shard, images, 4)
    assert torch.equal(seen, work.augmented(shard, images, 4))
    assert not torch.equal(seen, work.augmented(shard, images, 5))
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 10
    seen.sum().backward()
    assert (images.grad.flatten(1) != 0).any(1).all()


def test_the_loss_falls_and_pixels_stay_valid(teddy_run, tmp_path):
    from ddkit.runtime.tensors import TensorFile
    from ddkit.synthesis.engine import Engine

    run = teddy_run("iterations=40", "schedule=constant")
    objective = objective_of(run)
    engine = Engine(run, objective)
    engine.synthesise()
    file = TensorFile(engine.file(objective.shards()[0]).path)
    losses = file["losses"]
    assert losses[-5:].mean() < 0.9 * losses[:5].mean()
    assert file["images"].min() > -1e-4
    assert file["images"].max() < 1 + 1e-4
    assert (file["images"] - file["initial"]).abs().mean() > 0.01


@pytest.mark.parametrize(("settings", "moved"), [((), 0.0), (("image_decay=1e-4",), 3 * 0.1)])
def test_pixels_without_a_loss_rest_but_for_a_decay_which_adam_takes_for_a_gradient(
    teddy_run, settings, moved
):
    run = teddy_run("bn_weight=0", "ce_weight=0", "schedule=constant", "clip=false", *settings)
    objective = objective_of(run)
    shard = objective.shards()[0]
    images = objective.initialise(shard)["images"].value
    before = images.detach().clone()
    optimiser = objective.optimiser([images.requires_grad_()])
    for step in range(3):
        optimiser.zero_grad()
        objective.loss(shard, {"images": images}, step).backward()
        optimiser.step()
    far = before.abs() > 0.5
    assert torch.allclose(
        (before - images.detach())[far], moved * before.sign()[far], rtol=0.05, atol=1e-6
    )


def test_a_pool_without_members_is_refused(teddy_run, tmp_path):
    run = teddy_run()
    with pytest.raises(DdkitError, match="needs a pool of trained networks"):
        TeddyObjective(run, Pool(tmp_path / "none"))


def test_statistics_that_were_not_measured_are_refused(teddy_run):
    pool = stage_pools.open_pool(teddy_run(), "synthesis")
    objective = TeddyObjective(teddy_run("statistics=exact"), pool)
    with pytest.raises(DdkitError, match="holds no measured statistics"):
        objective.references(pool.with_role("teacher")[0])


def test_images_are_moved_by_statistics_of_convolutions_and_of_classes(teddy_run):
    run = teddy_run("layers=norms+convolutions", "statistics=classwise", "class_share=0.5")
    objective = objective_of(run)
    member = objective.members[0]
    found = objective.references(member)
    assert len(found) == 2 * len(norms_of(objective, member))
    assert {each.class_share for each in found} == {0.5}
    images = torch.rand(10, 1, 8, 8, requires_grad=True)
    objective.loss(objective.shards()[0], {"images": images}, 0).backward()
    assert (images.grad.flatten(1) != 0).any(1).all()


def norms_of(objective: TeddyObjective, member: int) -> list:
    return matched_layers(objective.pool.network(member))


def test_a_pool_that_was_measured_at_convolutions_serves_norms_alone(teddy_run):
    both = teddy_run("layers=norms+convolutions", "statistics=exact")
    pool = stage_pools.open_pool(both, "synthesis")
    objective = TeddyObjective(teddy_run("statistics=exact"), pool)
    assert len(objective.references(0)) == len(norms_of(objective, 0))


def test_a_pool_without_statistics_of_convolutions_is_refused(teddy_run):
    pool = stage_pools.open_pool(teddy_run("statistics=exact"), "synthesis")
    objective = TeddyObjective(teddy_run("statistics=exact", "layers=norms+convolutions"), pool)
    with pytest.raises(DdkitError, match="no statistics of convolutions"):
        objective.references(0)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("layers=norms+convolutions", "needs statistics=exact or classwise"),
        ("class_share=0.5", "class_share is for statistics=classwise"),
    ],
)
def test_what_running_statistics_do_not_have_is_refused(teddy_run, setting, line):
    with pytest.raises(DdkitError, match=line):
        teddy_run(setting)
