"""Networks in training beside the images: ages, replacement, training, figures, checkpoints."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit import LivePool, Recipe, Run

RECIPES = {
    "sgd": Recipe(lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": Recipe(optimiser="adam", lr=0.01, weight_decay=0),
}


def fresh(run: Run, number: int) -> nn.Module:
    return run.network(run.generator("network", number))


def batch(run: Run, number: int) -> tuple[Tensor, Tensor]:
    rows = torch.arange(number, number + 6)
    return run.resident.inputs(rows), run.train.labels[rows]


@pytest.fixture
def small(run) -> Run:
    return run(network="convnet:depth=1:width=4:norm=batch")


def test_the_oldest_goes_and_ages_count_the_steps_since_a_network_came(small):
    pool = LivePool(small, RECIPES["sgd"], 3)
    on_paper: list[list[int]] = []  # the number and the age of each, the oldest first
    for step in range(10):
        if step % 2 == 0:
            pool.append(fresh(small, step))
            on_paper = [*on_paper, [step, 0]][-3:]
        index = step % len(on_paper)
        pool.train(index, [batch(small, step)] * (step % 3), seed=0)
        on_paper[index][1] += step % 3
        if step == 7:
            pool.replace(1, fresh(small, 100))
            on_paper[1] = [100, 0]
        assert pool.ages == [age for _, age in on_paper]
        for at, (number, age) in enumerate(on_paper):
            own = pool.network(at).classifier.weight
            assert torch.equal(own, fresh(small, number).classifier.weight) == (age == 0)
    assert on_paper == [[100, 0], [6, 0], [8, 2]]


@pytest.mark.parametrize("kind", RECIPES)
def test_training_is_that_of_the_recipe_with_one_optimiser_for_life(small, kind):
    recipe = RECIPES[kind]
    pool = LivePool(small, recipe, 2)
    alone = fresh(small, 0)
    optimiser = recipe.build(alone.parameters())
    pool.append(fresh(small, 0))
    pool.append(fresh(small, 1))
    for step in range(4):
        pool.train(0, [batch(small, step)], seed=step)
        pool.train(1, [batch(small, 10)], seed=step)  # in between another one
        optimiser.zero_grad()
        inputs, labels = batch(small, step)
        F.cross_entropy(alone.train()(inputs), labels).backward()
        optimiser.step()
    for name, tensor in alone.state_dict().items():
        assert torch.equal(pool.network(0).state_dict()[name], tensor), name


def test_a_figure_is_the_mean_of_a_training_and_then_half_of_it_each_time(small):
    pool = LivePool(small, RECIPES["sgd"], 2)
    pool.append(fresh(small, 0))
    assert float(pool.figure(0)) == 0
    values = iter(torch.tensor([2.0, 4.0, 10.0]))

    def measure(logits: Tensor, targets: Tensor) -> Tensor:
        assert logits.shape == (6, 3)
        assert not logits.requires_grad
        return next(values)

    pool.train(0, [batch(small, 0), batch(small, 1)], seed=0, measure=measure)
    assert float(pool.figure(0)) == 3
    pool.train(0, [], seed=0, measure=measure)
    assert float(pool.figure(0)) == 3
    pool.train(0, [batch(small, 2)], seed=0, measure=measure)
    assert float(pool.figure(0)) == 6.5


def test_draws_are_even_without_repetition(small):
    pool = LivePool(small, RECIPES["sgd"], 4)
    for number in range(4):
        pool.append(fresh(small, number))
    drawn = [pool.draw(torch.Generator().manual_seed(i), 2) for i in range(300)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    counts = torch.tensor(drawn).flatten().bincount()
    assert counts.tolist() == pytest.approx([150] * 4, abs=40)
    assert len(pool.draw(torch.Generator(), 9)) == 4


@pytest.mark.parametrize("kind", RECIPES)
def test_a_pool_that_was_put_back_goes_on_in_the_same_bytes(small, kind):
    def further(pool: LivePool) -> dict[str, Tensor]:
        pool.train(0, [batch(small, 3)], seed=3, measure=lambda logits, _: logits.mean())
        pool.append(fresh(small, 7))
        pool.train(2, [batch(small, 4)], seed=4)
        return pool.state_dict()

    pool = LivePool(small, RECIPES[kind], 3)
    assert pool.state_dict() == {}
    pool.load_state_dict({})
    for number in range(2):
        pool.append(fresh(small, number))
        pool.train(number, [batch(small, number)], seed=0, measure=lambda logits, _: logits.max())
    kept = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    again = LivePool(small, RECIPES[kind], 3)
    again.load_state_dict(kept)
    assert again.ages == [1, 1]
    first, second = further(pool), further(again)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_networks_come_with_an_age_and_of_another_kind_than_the_runs(small):
    pool = LivePool(small, RECIPES["adam"], 2, "convnet:depth=2:width=3:norm=none")
    for number, age in enumerate((7, 3)):
        draw = small.generator("network", number)
        pool.append(small.network(draw, "convnet:depth=2:width=3:norm=none"), age)
    assert pool.ages == [7, 3]
    pool.train(1, [batch(small, 0)] * 2, seed=0)
    assert pool.ages == [7, 5]
    assert pool.network(0).features[1].conv.out_channels == 3
    again = LivePool(small, RECIPES["adam"], 2, "convnet:depth=2:width=3:norm=none")
    again.load_state_dict(pool.state_dict())
    assert again.ages == [7, 5]
    pool.replace(0, small.network(small.generator("network", 3), pool.spec))
    assert pool.ages == [0, 5]
