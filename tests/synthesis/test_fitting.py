"""What a step takes, tried: against sums by hand of all that is live."""

import pytest
import torch

from ddkit.run import Run
from ddkit.runtime.arithmetic import PRECISIONS, Arithmetic
from ddkit.runtime.cache import settled
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.memory import weights_of
from ddkit.runtime.sizes import BEYOND
from ddkit.synthesis.budget import (
    HeldPool,
    check_requested,
    first_images,
    made_up_member,
    peak_of,
    step_peak,
    trial_run,
    untrained_network,
)
from ddkit.synthesis.objective import ImageObjective

IMAGE = 8 * 8 * 4


class Squares(ImageObjective):
    """Its loss holds one copy of the images that its step drew."""

    rows = None

    def optimiser(self, parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.5)

    def draw(self, shard, step):
        return {} if self.rows is None else {"images": self.rows}

    def loss(self, shard, leaves, step):
        return leaves["images"].square().sum()


def test_images_gradient_momentum_and_what_is_live_count(run):
    objective = Squares(run(ipc=10, init="noise"))
    shard = objective.shards()[0]
    # value, momentum, square or its slopes, gradient
    assert 4 * 30 * IMAGE <= step_peak(objective, shard) <= 5.2 * 30 * IMAGE
    half = step_peak(objective, first_images(shard, 15))
    assert half == pytest.approx(step_peak(objective, shard) / 2, rel=0.05)


def test_rows_that_are_not_drawn_take_their_place_but_no_step(run):
    objective = Squares(run(ipc=10, init="noise"))
    whole = step_peak(objective, objective.shards()[0])
    objective.rows = torch.arange(5)
    assert step_peak(objective, objective.shards()[0]) < 0.8 * whole


class Products(Squares):
    """Its loss multiplies by a matrix, of which autocast makes a copy in half the bytes."""

    precisions = PRECISIONS
    matrix = torch.zeros(64, 1000)

    def loss(self, shard, leaves, step):
        return (leaves["images"].flatten(1) @ self.matrix).float().square().sum()


def test_what_counts_is_the_largest_of_the_ways_in_which_a_run_may_compute(run, monkeypatch):
    def peak(**flags) -> int:
        objective = Products(run(ipc=1, init="noise", **flags))
        return step_peak(objective, objective.shards()[0])

    exact, cast = peak(precision="fp32"), peak(precision="bf16")
    assert cast > exact + 0.9 * Products.matrix.nbytes / 2
    choices = [Arithmetic("bf16"), Arithmetic("fp32")]
    monkeypatch.setattr(Run, "may_choose", lambda *precisions, **layouts: choices)
    assert peak() == cast


def test_what_is_tried_is_laid_out_as_before_when_it_ends(run):
    work = run(network="convnet:depth=2:width=4", ipc=1, init="noise")
    pool = HeldPool(work, [untrained_network(work)], [made_up_member("teacher")])
    seen = []

    class LaidOut(Squares):
        def compute_with(self, arithmetic):
            pool.lay_out(arithmetic)
            seen.append(pool.network(0).features[1].conv.weight.stride())

    objective = LaidOut(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "may_choose", lambda *_, **__: [Arithmetic(channels_last=True)])
        step_peak(objective, objective.shards()[0])
    assert seen == [(36, 1, 12, 4), (36, 9, 3, 1)]


def test_what_the_device_has_not_is_beyond():
    def work():
        raise torch.OutOfMemoryError

    assert peak_of(work, torch.device("cpu")) == BEYOND
    with pytest.raises(DdkitError, match="segment=3, which needs more than the device has: lower"):
        check_requested("segment", 3, lambda size: BEYOND + 7, 1000)


def test_networks_in_memory_are_a_pool(run):
    work = run(network="convnet:depth=1:width=2")
    network = untrained_network(work)
    pool = HeldPool(
        work, [network, network], [made_up_member("teacher"), made_up_member("expert", 1)]
    )
    assert pool.with_role("expert") == [1]
    assert pool.network(1) is network
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert pool.state(0).keys() == network.state_dict().keys()
    parameters = 2 * 9 + 2 + 2 * 2 + 3 * 2 * 4 * 4 + 3
    assert weights_of(network) == 4 * parameters


def test_a_run_is_tried_with_other_options_and_no_budget(run):
    work = run(memory_budget=5)
    other = trial_run(work)
    assert other.config.memory_budget is None
    assert work.config.memory_budget == 5


def test_a_choice_may_ask_for_another_one(tmp_path):
    def outer():
        return settled(tmp_path, "inner", lambda: 3) + 1

    assert settled(tmp_path, "outer", outer) == 4
    assert settled(tmp_path, "inner", lambda: 9) == 3
    assert settled(tmp_path, "outer", lambda: 9) == 4
