"""The experts: what their trainings are, what is stored of them, and what a kill changes."""

import pytest
import torch
import torch.nn.functional as F
from ddkit_tesla.experts import experts, trajectories
from ddkit_tesla.objective import TeslaObjective

from ddkit import DdkitError, Pool, Run
from ddkit.data.augmentation.dsa import apply_dsa, draw_dsa
from ddkit.pipeline import stages as stage_pools
from ddkit.pools.real_training import RealTraining
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped


def pool_of(run: Run) -> Pool:
    return stage_pools.open_pool(run, "synthesis")


def contents(pool: Pool) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pool.folder.glob("*.safetensors")}


def test_a_pool_has_one_file_per_expert_with_all_its_epochs(tesla_run):
    run = tesla_run()
    pool = pool_of(run)
    names = sorted(path.name for path in pool.folder.glob("expert-*"))
    assert names == ["expert-0000.safetensors", "expert-0001.safetensors"]
    experts = trajectories(pool)
    assert experts == [[0, 1, 2, 3], [4, 5, 6, 7]]
    per_epoch = -(-len(run.train) // 256)
    for expert in experts:
        members = [pool.members[index] for index in expert]
        assert [member.epoch for member in members] == [0, 1, 2, 3]
        assert [member.step for member in members] == [e * per_epoch for e in range(4)]
        assert {member.role for member in members} == {"expert"}
        assert len({member.task for member in members}) == 1


def test_epoch_0_is_the_network_as_it_is_initialised(tesla_run):
    run = tesla_run()
    pool = pool_of(run)
    for index, expert in enumerate(trajectories(pool)):
        network = run.network(run.generator("expert network", index))
        stored = pool.state(expert[0])
        assert stored.keys() == network.state_dict().keys()
        for name, tensor in network.state_dict().items():
            assert torch.equal(stored[name], tensor), name


@pytest.mark.parametrize(
    ("settings", "momentum", "decay", "factors"),
    [
        ((), 0.0, 0.0, (1, 1, 1)),
        (
            ("train_momentum=0.9", "train_decay=1e-2", "train_schedule=step:1"),
            0.9,
            1e-2,
            (1, 0.1, 0.01),
        ),
    ],
)
def test_each_epoch_is_plain_sgd_on_the_real_batches(tesla_run, settings, momentum, decay, factors):
    run = tesla_run(*settings, "train_lr=0.05")
    pool = pool_of(run)
    for index, expert in enumerate(trajectories(pool)):
        network = run.network(run.generator("expert network", index))
        velocity = [torch.zeros_like(p) for p in network.parameters()]
        for epoch, factor in enumerate(factors):
            for inputs, labels in experts(run).batches(index, epoch):
                parameters = list(network.parameters())
                loss = F.cross_entropy(network(inputs), labels)
                slopes = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for p, g, v in zip(parameters, slopes, velocity, strict=True):
                        v.mul_(momentum).add_(g.add(p, alpha=decay))
                        p.add_(v, alpha=-0.05 * factor)
            stored = pool.state(expert[epoch + 1])
            for name, tensor in network.state_dict().items():
                assert torch.equal(stored[name], tensor), (name, epoch)


def test_an_epoch_serves_every_real_image_once_augmented_by_dsa_but_never_mirrored(tesla_run):
    run = tesla_run()
    plain = experts(tesla_run("train_augmentation=none"))
    operations = set()
    for epoch in range(3):
        served = list(experts(run).batches(1, epoch))
        assert sum(len(labels) for _, labels in served) == len(run.train)
        pairs = zip(served, plain.batches(1, epoch), strict=True)
        for number, ((inputs, labels), (original, same)) in enumerate(pairs):
            generator = run.generator("expert dsa", 1, epoch, number)
            drawn = draw_dsa(len(inputs), (8, 8), generator, flip=False)  # these are digits
            operations.add(drawn.operation)
            assert torch.equal(labels, same)
            assert torch.equal(inputs, apply_dsa(original, drawn))
    assert len(operations) > 3


def test_without_augmentation_an_epoch_is_the_training_set_in_random_order(tesla_run):
    run = tesla_run("train_augmentation=none")
    everything = run.resident.inputs(torch.arange(len(run.train)))
    orders = set()
    for index, epoch in ((0, 0), (0, 1), (1, 0)):
        inputs = torch.cat([inputs for inputs, _ in experts(run).batches(index, epoch)])
        orders.add(tuple(inputs.sum((1, 2, 3)).tolist()))
        assert torch.equal(rows_sorted(inputs), rows_sorted(everything))
    assert len(orders) == 3  # each epoch of each expert has an order of its own


def rows_sorted(images: torch.Tensor) -> torch.Tensor:
    return torch.unique(images.flatten(1), dim=0)


def test_experts_differ_from_each_other(tesla_run):
    pool = pool_of(tesla_run())
    for one, other in zip(*trajectories(pool), strict=True):
        weights = "features.0.conv.weight"
        assert not torch.equal(pool.state(one)[weights], pool.state(other)[weights])


def test_same_seed_same_bytes(tesla_run, own_cache, monkeypatch):
    first = contents(pool_of(tesla_run()))
    other = contents(pool_of(tesla_run(pool_seed=1)))
    monkeypatch.setenv("DDKIT_CACHE", str(own_cache / "other"))
    again = pool_of(tesla_run(seed=5, pool_seed=0))
    assert str(again.folder).startswith(str(own_cache / "other"))
    assert contents(again) == first
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.startswith("expert"))


def test_bfloat16_rounds_what_is_stored_and_halves_it(tesla_run):
    wide = {"network": "convnet:depth=2:width=48"}
    settings = ("experts=1", "train_epochs=1", "max_start_epoch=1")
    full = pool_of(tesla_run(*settings, **wide))
    half = pool_of(tesla_run(*settings, "expert_dtype=bfloat16", **wide))
    name = "expert-0000.safetensors"
    sizes = [(pool.folder / name).stat().st_size for pool in (half, full)]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.05)
    for index in range(2):
        stored, exact = half.state(index), full.state(index)
        assert stored.keys() == exact.keys()
        for key, tensor in exact.items():
            assert torch.equal(stored[key], tensor.bfloat16())


def test_experts_in_bfloat16_label_images_and_are_matched(tesla_run):
    run = tesla_run("expert_dtype=bfloat16", "labels=target")
    pool = pool_of(run)
    images = run.resident.inputs(torch.arange(5))
    expert = trajectories(pool)[0]
    network = run.network(torch.Generator())
    network.load_state_dict({key: value.float() for key, value in pool.state(expert[1]).items()})
    logits = pool.network(expert[1])(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, network.eval()(images))
    objective = TeslaObjective(run, pool)
    shard = objective.shards()[0]
    leaves = {k: leaf.value.requires_grad_() for k, leaf in objective.initialise(shard).items()}
    loss = objective.loss(shard, leaves, 0)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


class Killed(Exception):  # noqa: N818 - nothing of ours
    pass


@pytest.mark.parametrize("moment", [(0, 0, 2), (0, 2, 0), (1, 1, 3)])  # expert, epoch, batch
@pytest.mark.parametrize("softly", [True, False])
def test_a_killed_training_ends_in_the_same_bytes(
    tesla_run, own_cache, monkeypatch, request_stop, moment, softly
):
    expected = contents(pool_of(tesla_run("train_momentum=0.9")))
    monkeypatch.setenv("DDKIT_CACHE", str(own_cache / "other"))
    with monkeypatch.context() as patch:
        kill_at(patch, moment, request_stop if softly else None)
        with pytest.raises(Stopped if softly else Killed):
            pool_of(tesla_run("train_momentum=0.9"))
    interrupt._requested.clear()
    (folder,) = (own_cache / "other" / "pools").iterdir()
    assert not (folder / "pool.json").exists()
    checkpoints = list(folder.rglob("*.checkpoint.safetensors"))
    assert len(checkpoints) == softly
    begun = counted(monkeypatch)
    assert contents(pool_of(tesla_run("train_momentum=0.9"))) == expected
    assert not (folder / "partial").exists()
    if softly:  # epochs before the checkpoint are not trained again
        assert min(begun) == moment[:2]
    assert {index for index, _ in begun} == set(range(moment[0], 2))


def counted(monkeypatch) -> list[tuple[int, int]]:
    """Return a list to which every epoch that is trained from now on is added."""
    begun, whole = [], RealTraining.batches

    def batches(self, index, epoch):
        begun.append((index, epoch))
        return whole(self, index, epoch)

    monkeypatch.setattr(RealTraining, "batches", batches)
    return begun


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Let batched training be worthwhile, whatever a clock says."""
    monkeypatch.setattr(RealTraining, "is_worthwhile", lambda self: True)


def test_experts_trained_at_once_are_those_trained_alone(tesla_run, at_once):
    settings = ("experts=3", "train_lr=0.05", "train_momentum=0.5", "train_schedule=half")
    alone = pool_of(tesla_run(*settings, "together=1"))
    both = pool_of(tesla_run(*settings, "together=2"))  # two at once, and one
    assert alone.members == both.members
    assert trajectories(alone) == trajectories(both)
    for index in range(len(alone)):
        for name, tensor in alone.state(index).items():
            torch.testing.assert_close(both.state(index)[name], tensor, rtol=1e-3, atol=1e-4)
    moved = alone.state(3)["classifier.weight"] - alone.state(0)["classifier.weight"]
    assert moved.abs().max() > 1e-2


def test_each_of_the_experts_trained_at_once_sees_its_own_batches(tesla_run):
    training = experts(tesla_run())
    own = [list(training.batches(index, 1)) for index in (1, 0)]
    stacked = list(training.stacked_batches([1, 0], 1))
    assert len(stacked) == training.per_epoch
    for number, (inputs, labels) in enumerate(stacked):
        assert torch.equal(inputs, torch.stack([batches[number][0] for batches in own]))
        assert torch.equal(labels, torch.stack([batches[number][1] for batches in own]))


@pytest.mark.parametrize("softly", [True, False])
def test_a_killed_training_of_several_at_once_ends_in_the_same_bytes(
    tesla_run, own_cache, monkeypatch, request_stop, at_once, softly
):
    def trained() -> dict[str, bytes]:
        return contents(pool_of(tesla_run("together=2", "expert_dtype=bfloat16")))

    expected = trained()
    monkeypatch.setenv("DDKIT_CACHE", str(own_cache / "other"))
    with monkeypatch.context() as patch:
        kill_at(patch, (1, 1, 3), request_stop if softly else None)
        with pytest.raises(Stopped if softly else Killed):
            trained()
    interrupt._requested.clear()
    # the clock might say otherwise now
    monkeypatch.setattr(RealTraining, "is_worthwhile", lambda self: False)
    begun = counted(monkeypatch)
    assert trained() == expected
    first = 1 if softly else 0  # epochs before a checkpoint are not trained again
    assert set(begun) == {(index, epoch) for index in (0, 1) for epoch in range(first, 3)}


def kill_at(patch, moment: tuple[int, int, int], request_stop=None) -> None:
    """Stop, or else break off, before the batch (expert, epoch, number) is served."""
    whole = RealTraining.batches

    def interrupted(self, index, epoch):
        for number, batch in enumerate(whole(self, index, epoch)):
            if (index, epoch, number) == moment:
                if request_stop is None:
                    raise Killed
                request_stop()
            yield batch

    patch.setattr(RealTraining, "batches", interrupted)


BEYOND = r"max_start_epoch=3 and expert_epochs=2 need epoch 4 \(from 2 on\), but the experts "


def test_a_segment_beyond_the_trajectory_is_refused_before_any_training(tesla_run, own_cache):
    with pytest.raises(DdkitError, match=BEYOND + "have 3: lower one of the two, or use lo"):
        pool_of(tesla_run("max_start_epoch=3", "expert_epochs=2"))
    assert not list(own_cache.rglob("expert-*"))


def test_a_segment_beyond_the_trajectories_of_a_finished_pool_is_refused(tesla_run):
    pool = pool_of(tesla_run())
    run = tesla_run("max_start_epoch=3", "expert_epochs=2", "train_epochs=50")
    with pytest.raises(DdkitError, match=BEYOND + "have 3: lower one of the two"):
        TeslaObjective(run, pool)


@pytest.mark.parametrize(
    "settings",
    [
        ("max_start_epoch=3", "expert_epochs=1"),
        ("max_start_epoch=1", "expert_epochs=3"),
    ],
)
def test_a_segment_may_end_with_the_trajectory(tesla_run, settings):
    run = tesla_run(*settings)
    objective = TeslaObjective(run, pool_of(run))
    shard = objective.shards()[0]
    leaves = {k: leaf.value.requires_grad_() for k, leaf in objective.initialise(shard).items()}
    assert all(torch.isfinite(objective.loss(shard, leaves, step)) for step in range(6))


def test_options_of_the_matching_leave_the_pool_as_it_is(tesla_run):
    run = tesla_run()
    settings = ("student_steps=5", "max_start_epoch=1", "labels=hard", "lr_images=3")
    assert pool_of(tesla_run(*settings)).folder == pool_of(run).folder
    assert pool_of(tesla_run("train_lr=0.02")).folder != pool_of(run).folder


def test_a_pool_without_experts_is_refused(tmp_path):
    with pytest.raises(
        DdkitError, match="needs a pool of expert trajectories, but this one has no"
    ):
        trajectories(Pool(tmp_path / "none"))


def test_epochs_may_lie_in_any_order_but_not_be_missing(tesla_run):
    pool = pool_of(tesla_run())
    whole = pool.members
    pool.members = whole[::-1]
    assert trajectories(pool) == [[3, 2, 1, 0], [7, 6, 5, 4]]
    pool.members = whole[:5] + whole[6:]
    with pytest.raises(DdkitError, match="the pool lacks epochs of 'expert-0001'"):
        trajectories(pool)
