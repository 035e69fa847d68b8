"""Prior and post pools: which members they have, and what they are."""

import pytest
import torch
from ddkit_teddy.options import TeddyOptions
from ddkit_teddy.prior import wanted_steps
from safetensors.torch import save_file

from ddkit import DdkitError, networks
from ddkit.pipeline import stages as stage_pools

FIRST = "features.0.conv.weight"  # of a ConvNet


def test_the_stages_of_table_6_give_the_pool_sizes_of_the_paper():
    def members(first, last):
        return len(wanted_steps(TeddyOptions(first=first, last=last, every=5), per_epoch=10))

    assert [members(1, 41), members(21, 61), members(31, 71)] == [9, 9, 9]  # ImageNet-1K
    assert [members(11, 46), members(15, 50)] == [8, 8]  # Tiny-ImageNet


def test_prior_members_are_snapshots_of_one_trajectory(teddy_run):
    run = teddy_run("recalibrate=0")
    pool = stage_pools.open_pool(run, "synthesis")
    assert [member.step for member in pool.members] == [1, 3, 5]
    assert {member.role for member in pool.members} == {"teacher"}
    network = run.network(run.generator("trajectory network"))
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    shuffle = run.generator("trajectory batches", 0)
    for step, (inputs, labels) in enumerate(
        run.resident.batches(64, shuffle, augmentation="crop-flip"), start=1
    ):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
        if step == 5:
            break
    stored = pool.state(2)
    for name, tensor in network.state_dict().items():
        assert torch.equal(stored[name], tensor), name


def test_epochs_count_epochs(teddy_run):
    run = teddy_run("unit=epoch", "first=0", "last=2", "every=1", "train_batch=512")
    pool = stage_pools.open_pool(run, "synthesis")
    assert [member.step for member in pool.members] == [0, 3, 6]
    assert [member.epoch for member in pool.members] == [0, 1, 2]


def test_recalibrated_members_see_what_they_match(teddy_run):
    """A young member's running statistics lag; measured anew they are those of the real data."""

    def gap(setting):
        run = teddy_run(setting, "first=3", "last=3")
        network = stage_pools.open_pool(run, "synthesis").network(0)
        seen = []
        first = networks.batch_norms(network)[0]
        first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network(run.resident.inputs(torch.arange(len(run.train))))
        return float((seen[0].var((0, 2, 3)) - first.running_var).norm())

    assert gap("recalibrate=10000") < 0.1 * gap("recalibrate=0")


def test_post_members_are_cut_copies_of_the_base(teddy_run):
    run = teddy_run("pool=post", "members=3", "last=4", "finetune_epochs=0.1", "prune_ratio=0.25")
    pool = stage_pools.open_pool(run, "synthesis")
    assert [member.role for member in pool.members] == ["base", "pruned", "pruned", "pruned"]
    assert pool.members[1].step == 0  # spread evenly from no fine-tuning …
    assert pool.members[3].step == round(0.1 * -(-len(run.train) // 32))  # … to the longest
    for index in (3, 1, 2, 1):
        network = pool.network(index)
        assert networks.batch_norms(network)[0].num_features == 6
        assert network(run.resident.inputs(torch.arange(4))).shape == (4, 10)
    untouched, base = pool.state(1), pool.state(0)
    kept = [
        c for c in range(8) if any(torch.equal(base[FIRST][c], row) for row in untouched[FIRST])
    ]
    assert len(kept) == 6


def test_a_users_own_weights_are_the_base(teddy_run, tmp_path):
    network = networks.create(
        "convnet:width=8:norm=batch",
        classes=10,
        shape=(1, 8, 8),
        generator=torch.Generator().manual_seed(42),
    )
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    pools = []
    for name in ("mine.safetensors", "mine.pt"):
        settings = ("pool=post", "members=1", f"base={tmp_path / name}", "recalibrate=0")
        with pytest.raises(DdkitError, match=r"gets \d+% of 500 training images right"):
            stage_pools.open_pool(teddy_run(*settings), "synthesis")  # it was never trained
        run = teddy_run(*settings, trust_base=True)
        pool = stage_pools.open_pool(run, "synthesis")
        assert torch.equal(pool.state(0)[FIRST], network.state_dict()[FIRST])
        pools.append(pool.folder)
    assert pools[0] != pools[1]  # a pool depends on the file's content


def test_weights_of_another_network_are_refused_in_one_line(teddy_run, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    run = teddy_run("pool=post", f"base={tmp_path / 'other.safetensors'}")
    with pytest.raises(
        DdkitError, match=r"do not fit --network convnet:width=8:norm=batch"
    ) as info:
        stage_pools.open_pool(run, "synthesis")
    assert "\n" not in str(info.value)


def test_a_pickle_that_is_more_than_weights_is_not_executed(teddy_run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w').close()",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pt")
    run = teddy_run("pool=post", f"base={tmp_path / 'trap.pt'}")
    with pytest.raises(DdkitError, match="holds no plain weights"):
        stage_pools.open_pool(run, "synthesis")
    assert not (tmp_path / "sprung").exists()
