"""Teddy in bfloat16 and in other memory layouts: the same step up to rounding."""

import pytest
import torch
from ddkit_teddy.matching import forward_with_features
from ddkit_teddy.objective import TeddyObjective

from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.arithmetic import EXACT, Arithmetic

CPU = torch.device("cpu")


def gradient(objective: TeddyObjective, arithmetic: Arithmetic) -> torch.Tensor:
    objective.compute_with(arithmetic)
    shard = objective.shards()[0]
    images = objective.initialise(shard)["images"].value.clone().requires_grad_()
    with arithmetic.casting(CPU):
        loss = objective.loss(shard, {"images": images}, 0)
    loss.backward()
    assert loss.dtype == torch.float32
    return images.grad.flatten()


@pytest.fixture
def objective(teddy_run) -> TeddyObjective:
    run = teddy_run("teachers=2")
    return TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))


def test_a_step_in_bf16_points_where_the_exact_one_does(objective):
    exact, rough = (gradient(objective, each) for each in (EXACT, Arithmetic("bf16")))
    assert not torch.equal(exact, rough)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.99


def test_a_step_in_channels_last_differs_by_rounding(objective):
    exact, laid_out = (gradient(objective, each) for each in (EXACT, Arithmetic("fp32", True)))
    torch.testing.assert_close(exact, laid_out, rtol=1e-3, atol=1e-6)
    weight = next(p for p in objective.pool.network(0).parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    objective.compute_with(EXACT)
    weight = next(p for p in objective.pool.network(0).parameters() if p.dim() == 4)
    assert weight.is_contiguous()


def test_statistics_are_taken_in_float32(objective):
    images = torch.rand(4, *objective.run.shape)
    with torch.autocast("cpu", torch.bfloat16):
        _, features = forward_with_features(objective.pool.network(0), images)
    assert {feature.dtype for feature in features} == {torch.float32}
