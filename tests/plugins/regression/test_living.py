"""Networks that are trained on the set: who is drawn, trained and replaced, on paper."""

from itertools import pairwise

import torch
from ddkit_regression.living import Living, pool_spec
from ddkit_regression.ridge import half_squares

from ddkit import group_shards


def living(run):
    return Living(run, run.options), group_shards(run, 1)[0]


def test_ages_and_replacements_over_150_steps(made_up):
    run = made_up(networks=3, oldest=20)
    pool, shard = living(run)
    images = torch.randn(6, *run.shape)
    targets = torch.randn(6, 3)
    on_paper, replaced = [0, 6, 13], 0
    for step in range(150):
        pool.network(shard, step, images, targets)
        if step:  # the network of the step before had its turn
            draw = run.generator("drawn network", 0, step - 1)
            index = torch.randperm(3, generator=draw)[0].item()
            old = on_paper[index] > 20
            on_paper[index] = 0 if old else on_paper[index] + 1
            replaced += old
        assert pool.pool.ages == on_paper, step
    assert replaced > 3


def test_ten_networks_begin_ten_steps_apart(made_up):
    pool, shard = living(made_up(networks=10, oldest=100))
    pool.network(shard, 0, torch.zeros(6, 1, 8, 8), torch.zeros(6, 3))
    assert pool.pool.ages == list(range(0, 100, 10))


def test_a_turn_is_one_step_of_adam_on_the_set_as_it_is_now(made_up):
    run = made_up(networks=1, lr_network=0.01)
    pool, shard = living(run)
    before, now = torch.randn(2, 6, *run.shape)
    targets = torch.randn(6, 3)
    alone = run.network(run.generator("network at first", 0, 0))
    optimiser = torch.optim.Adam(alone.parameters(), lr=0.01)
    half_squares(alone(now), targets).backward()
    optimiser.step()
    pool.network(shard, 0, before, targets)
    found = pool.network(shard, 1, now, targets)
    for one, other in zip(found.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not found.training


def test_rcig_takes_up_to_so_many_steps_and_a_large_set_is_drawn_from(made_up):
    run = made_up(networks=1, oldest=1000, network_steps=15, batch_network=4)
    pool, shard = living(run)
    seen, ages = [], [0]
    train = pool.pool.train

    def watched(index, batches, *rest):
        batches = list(batches)
        seen.append([len(images) for images, _ in batches])
        train(index, batches, *rest)

    pool.pool.train = watched
    images, targets = torch.randn(6, *run.shape), torch.randn(6, 3)
    for step in range(60):
        pool.network(shard, step, images, targets)
        ages.append(pool.pool.ages[0])
    steps = [after - before for before, after in pairwise(ages[1:])]
    assert steps == [len(sizes) for sizes in seen]
    assert set(steps) >= {1, 15}
    assert max(steps) == 15
    assert {size for sizes in seen for size in sizes} == {4}


def test_softplus_is_for_the_networks_in_training_alone(made_up):
    run = made_up("convnet:depth=1:width=4", softplus=True)
    assert pool_spec(run, run.options) == "convnet:depth=1:width=4:activation=softplus"
    other = made_up("convnet:depth=1:width=4", pool_network="convnet:width=8:norm=batch")
    assert pool_spec(other, other.options) == "convnet:width=8:norm=batch"
