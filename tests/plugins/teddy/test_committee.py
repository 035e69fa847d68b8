"""Members of several architectures, and how much each of them counts."""

from dataclasses import replace
from math import exp

import pytest
import torch
from ddkit_teddy.checking import check_run
from ddkit_teddy.matching import running_references, teddy_loss
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.segments import segmented_loss
from ddkit_teddy.weights import softmax_weights, step_weights
from safetensors.torch import save_file
from torch import nn

from ddkit import DdkitError, Pool
from ddkit.config import StageConfig
from ddkit.pipeline import stages as stage_pools

SPECS = (
    "convnet:depth=1:width=4:norm=batch",
    "convnet:depth=2:width=6:norm=batch",
    "convnet:depth=1:width=8:norm=batch",
)
COMMITTEE = ("pool=committee", f"networks={','.join(SPECS)}", "last=6", "teachers=2")
CLASSES = torch.tensor([2, 0, 1, 2, 0, 2, 2, 4, 1, 0])
WEIGHTS = {"bn_weight": 0.3, "ce_weight": 0.7, "first_bn": 10.0}


def member(seed: int) -> nn.Module:
    """Two batch norms around a convolution, in float64, frozen."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 5)
    ).double()
    for layer in (network[0], network[2]):
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    return network.eval().requires_grad_(False)


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(10, 2, 5, 5, dtype=torch.float64, generator=generator)


def gradient_of(loss, leaf):
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient


@pytest.mark.parametrize("segment", [0, 3])
def test_one_member_of_weight_1_gives_the_loss_without_weights_to_the_last_bit(segment):
    network = member(3).float()
    matched = [running_references(network)]
    found = []
    for weights in (None, [1.0]):
        leaf = images().float().requires_grad_()
        if segment:
            loss = segmented_loss(
                [network], matched, leaf, CLASSES, segment=segment, weights=weights, **WEIGHTS
            )
        else:
            loss = teddy_loss([network], matched, leaf, CLASSES, weights=weights, **WEIGHTS)
        found.append((loss, gradient_of(loss, leaf)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("segment", [0, 4])
def test_the_loss_of_several_is_the_weighted_sum_of_theirs(segment):
    networks = [member(seed) for seed in range(3)]
    matched = [running_references(network) for network in networks]
    shares = [0.5, 0.3, 0.2]
    leaf = images().requires_grad_()
    alone = [
        teddy_loss([network], [layers], leaf, CLASSES, **WEIGHTS)
        for network, layers in zip(networks, matched, strict=True)
    ]
    expected = sum(share * loss for share, loss in zip(shares, alone, strict=True))
    function = teddy_loss
    extra = {}
    if segment:
        function, extra = segmented_loss, {"segment": segment}
    found = function(networks, matched, leaf, CLASSES, weights=shares, **WEIGHTS, **extra)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        gradient_of(found, leaf), gradient_of(expected, leaf), rtol=1e-9, atol=1e-12
    )


def test_weights_of_accuracies_in_percent():
    assert softmax_weights([64, 60.6], 5) == pytest.approx([0.664, 0.336], abs=5e-4)
    ratio = exp((64 - 60.6) / 10)
    assert softmax_weights([64, 60.6], 10) == pytest.approx([ratio / (1 + ratio), 1 / (1 + ratio)])
    assert softmax_weights([12.0], 5) == [1.0]


def test_a_committee_has_a_member_for_each_network_trained_apart(teddy_run):
    run = teddy_run(*COMMITTEE, data={"holdout": 0.1})
    pool = stage_pools.open_pool(run, "synthesis")
    assert pool.networks == SPECS
    assert [(each.role, each.step) for each in pool.members] == [("teacher", 6)] * 3
    assert all(0 <= each.figures["holdout_accuracy"] <= 1 for each in pool.members)
    again = teddy_run("pool=committee", f"networks={SPECS[0]},{SPECS[0]}", "last=2")
    same = stage_pools.open_pool(again, "synthesis")
    first, second = (same.state(index)["classifier.weight"] for index in (0, 1))
    assert not torch.equal(first, second)  # each has draws of its own


def test_a_committee_of_none_is_the_runs_network(teddy_run):
    pool = stage_pools.open_pool(teddy_run("pool=committee", "last=1"), "synthesis")
    assert [each.network for each in pool.members] == [None]


def test_a_mixed_pool_that_was_killed_is_finished_to_the_same_bytes(teddy_run, monkeypatch):
    run = teddy_run(*COMMITTEE)
    whole = stage_pools.open_pool(run, "synthesis").folder
    expected = {path.name: path.read_bytes() for path in whole.glob("*.safetensors")}
    expected["pool.json"] = (whole / "pool.json").read_bytes()
    (whole / "pool.json").unlink()
    (whole / "trajectory-001.safetensors").unlink()
    (whole / "trajectory-002.safetensors").unlink()
    stage_pools.open_pool(run, "synthesis")
    assert {name: (whole / name).read_bytes() for name in expected} == expected


def test_members_may_be_given(teddy_run, tmp_path):
    run = teddy_run()
    network = run.network(torch.Generator().manual_seed(3), SPECS[1]).eval()
    path = tmp_path / "mine.safetensors"
    save_file(network.state_dict(), path)
    settings = ("pool=committee", "recalibrate=0", "last=1", f"networks={SPECS[0]}")
    given = teddy_run(*settings, f"bases={SPECS[1]}:{path}", trust_base=True)
    check_run(given)
    pool = stage_pools.open_pool(given, "synthesis")
    assert pool.networks == SPECS[:2]
    inputs = torch.rand(3, 1, 8, 8)
    assert torch.equal(pool.network(1)(inputs), network(inputs))
    for networks in ("", f"networks={SPECS[1]}"):  # what is given is not trained
        more = [networks] if networks else []
        only = teddy_run(*settings[:3], *more, f"bases={SPECS[1]}:{path}", trust_base=True)
        (member,) = stage_pools.open_pool(only, "synthesis").members
        assert (member.task, member.network) == ("given-000", SPECS[1])
    source = StageConfig(plugin="teddy", options=given.options.model_dump(mode="json"))
    before = stage_pools.pool_description(given, source)
    save_file({**network.state_dict(), "more": torch.zeros(1)}, path)
    assert stage_pools.pool_description(given, source) != before  # a file counts by its content
    with pytest.raises(DdkitError, match=rf"mine.safetensors do not fit {SPECS[1]}: .*more"):
        check_run(given)


def test_what_is_no_committee_is_refused(teddy_run):
    with pytest.raises(DdkitError, match=r"networks and bases are for pool=committee"):
        teddy_run(f"networks={SPECS[0]}")
    with pytest.raises(DdkitError, match=r"takes networks by name, not from a file \(nets.py:f\)"):
        teddy_run("pool=committee", "networks=nets.py:f")
    with pytest.raises(DdkitError, match="unknown network 'convnett'"):
        teddy_run("pool=committee", "networks=convnett")
    with pytest.raises(DdkitError, match="statistics of batch norms, but this network has none"):
        check_run(teddy_run("pool=committee", "networks=convnet:depth=1:norm=none"))


def test_weights_by_holdout_need_one(teddy_run):
    run = teddy_run(*COMMITTEE, "weights=holdout")
    with pytest.raises(DdkitError) as caught:
        check_run(run)
    assert str(caught.value) == (
        "weights=holdout weights members by their accuracy on a holdout, but this run sets none "
        "aside: add --holdout, such as --holdout 0.1, or use --set weights=equal"
    )
    pool = stage_pools.open_pool(run, "synthesis")
    with pytest.raises(DdkitError, match="members of this pool were not measured on a holdout"):
        TeddyObjective(run, pool)


def test_weights_of_a_step_follow_the_holdout_of_the_drawn_members(teddy_run):
    run = teddy_run(*COMMITTEE, "weights=holdout", data={"holdout": 0.1})
    check_run(run)
    pool = stage_pools.open_pool(run, "synthesis")
    percents = [100 * pool.members[index].figures["holdout_accuracy"] for index in (2, 0)]
    first, second = step_weights(run, pool, [2, 0], (0, 0))
    assert first / second == pytest.approx(exp((percents[0] - percents[1]) / 5))
    assert first + second == pytest.approx(1)


def test_random_weights_are_drawn_anew_in_each_step(teddy_run):
    run = teddy_run(*COMMITTEE, "weights=random")
    pool = Pool(run.folder)
    drawn = [step_weights(run, pool, [0, 1], (0, step)) for step in range(3)]
    assert len({tuple(each) for each in drawn}) == 3
    assert all(sum(each) == pytest.approx(1) for each in drawn)
    assert drawn[1] == step_weights(run, pool, [0, 1], (0, 1))


@pytest.mark.parametrize("segment", [0, 3])
def test_a_step_of_a_committee_is_weighted(teddy_run, segment):
    run = teddy_run(*COMMITTEE, "weights=random", "draw=index", f"segment={segment}")
    objective = TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    leaf = objective.initialise(shard)["images"].value
    drawn = objective.draw_members(shard, 0)
    assert len(set(drawn)) == 2
    shares = step_weights(run, objective.pool, drawn, (shard.index, 0))
    pool = Pool.open(objective.pool.folder, max_loaded=3)
    expected = 0
    for share, index in zip(shares, drawn, strict=True):
        network = pool.network(index)
        layers = running_references(network)
        expected += share * teddy_loss([network], [layers], leaf, shard.classes)
    found = objective.loss(shard, {"images": leaf.clone().requires_grad_()}, 0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_a_budget_counts_the_members_that_take_most(teddy_run, monkeypatch):
    from ddkit_teddy import memory

    wide = "convnet:depth=1:width=32:norm=batch"
    settings = ("pool=committee", f"networks={SPECS[0]},{wide},{SPECS[0]}", "last=1", "teachers=1")
    measured = []
    original = memory.step_peak

    def noted(objective, shard):
        peak = original(objective, shard)
        widths = {p.shape[0] for n in objective.pool._networks.values() for p in n.parameters()}
        measured.append((max(widths), len(shard), peak))
        return peak

    monkeypatch.setattr(memory, "step_peak", noted)
    run = teddy_run(*settings, memory_budget=10**9, ipc=2)
    objective = TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))
    objective.initialise(objective.shards()[0])
    assert [width for width, *_ in measured[:3]] == [10, 32, 10]  # each once, in small
    assert {width for width, *_ in measured[3:]} == {32}
    measured.clear()
    check_run(replace(run, options=run.options.model_copy(update={"segment": 2})))
    assert {width for width, *_ in measured[3:]} == {32}


def test_a_committee_is_rehearsed_with_all_its_networks(teddy_run):
    options = TeddyOptions(pool="committee", networks="resnet18,mobilenet_v2", weights="holdout")
    small = TeddyOptions(**{**options.model_dump(), **options.rehearsed()})
    assert small.networks == ("resnet18", "mobilenet_v2")
    assert (small.weights, small.bases) == ("equal", ())
    assert options.pool_members() == 2
    assert options.work("pool", 10) == 2 * 41 * 10
    assert options.volume("pool") == small.volume("pool") == 2


def test_runs_of_teddy_are_stored_as_before():
    assert not {"networks", "bases", "weights"} & set(TeddyOptions().model_dump())
