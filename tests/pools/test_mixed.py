"""Pools of members of several architectures."""

from functools import partial

import pytest
import torch
from ddkit_matching.pool import pairs

from ddkit import RealTraining, Recipe, networks
from ddkit.config import StageConfig
from ddkit.methods.options import MethodOptions, option
from ddkit.methods.plugin import Plugin
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage
from ddkit.pools.pool import MemberInfo, Pool
from ddkit.pools.tasks import Member, MemberTask
from ddkit.pools.training import train_pool
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile

SPEC = "convnet:depth=1:width=4:norm=batch"
WIDE = "convnet:depth=1:width=6:norm=batch"
DEEP = "convnet:depth=2:width=4:norm=batch"
SPECS = [None, WIDE, DEEP, WIDE, SPEC]
DESCRIPTION = {"network": SPEC, "classes": 3, "shape": [1, 8, 8]}
CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=12)


class KilledError(Exception):
    pass


def fresh(seed: int, spec: str | None) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    network = networks.create(spec or SPEC, classes=3, shape=(1, 8, 8), generator=generator)
    return network.eval()


def task(context, dies: int | None = None):
    for number, spec in enumerate(SPECS):
        if number == dies:
            raise KilledError
        yield number, Member(fresh(number, spec).state_dict(), "teacher", network=spec)


def build(folder, space, dies: int | None = None) -> Pool:
    tasks = [MemberTask("mixed", partial(task, dies=dies))]
    train_pool(tasks, folder, DESCRIPTION, space, CPU)
    return Pool.open(folder)


@pytest.fixture
def space(run):
    return run().space


@pytest.fixture
def pool(tmp_path, space) -> Pool:
    return build(tmp_path / "pool", space)


@pytest.fixture
def mixed_teachers(tmp_path):
    """Return a function that gives the objective of a method on digits, with a mixed pool."""

    def make(method: str, **flags):
        settings = (
            "teachers=2",
            *(("rounds=3", "student_epochs=2", "checkpoints=2") if method == "apm" else ()),
        )
        flags = {"ipc": 1, "threads": 1, "network": SPEC, **flags}
        config = resolve(Request(method, flags, {}, settings, "none"))
        run = Stage(prepare(config, tmp_path / "run"), "synthesis").run
        recipe = Recipe(epochs=1, batch_size=256)
        training = RealTraining(run, "teacher", 2, recipe, (1,), networks=[WIDE, DEEP])
        description = {"network": SPEC, "classes": 10, "shape": [1, 8, 8]}
        train_pool(training.tasks(), tmp_path / "teachers", description, run.space, CPU)
        return Plugin(config.plugin).synthesis_loss(run, Pool.open(tmp_path / "teachers"))

    return make


@pytest.mark.parametrize("keep", [1, 2, 5])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0, 3, 1], [1, 3, 0, 4, 2, 2]])
def test_each_member_is_the_network_that_was_stored_in_any_order(pool, keep, order):
    pool.max_loaded = keep
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    for index in order:
        assert torch.equal(pool.network(index)(images), fresh(index, SPECS[index])(images))


def test_a_pool_says_which_networks_it_has(pool):
    assert pool.networks == (SPEC, WIDE, DEEP)
    assert [pool.spec(index) for index in range(5)] == [SPEC, WIDE, DEEP, WIDE, SPEC]
    assert Pool(pool.folder).networks == ()  # without members


def test_only_members_of_their_own_network_say_so_in_the_file(pool):
    entries = TensorFile(pool.folder / "mixed.safetensors").metadata["members"]
    assert list(entries[0]) == [
        "epoch",
        "figures",
        "number",
        "pruning",
        "role",
        "step",
    ]  # as before members had networks of their own
    assert entries[1]["network"] == WIDE
    assert MemberInfo(task="a", **entries[0]).network is None


def test_members_that_share_an_architecture_share_a_module(pool):
    first = pool.network(1)
    assert pool.network(3) is first
    assert pool.network(2) is not first


@pytest.mark.parametrize("dies", [1, 3])
def test_a_mixed_pool_that_was_killed_is_finished_to_the_same_bytes(tmp_path, space, pool, dies):
    folder = tmp_path / "killed"
    with pytest.raises(KilledError):
        build(folder, space, dies)
    build(folder, space)
    for name in ("mixed.safetensors", "pool.json"):
        assert (folder / name).read_bytes() == (pool.folder / name).read_bytes()


def test_a_members_network_from_a_file_is_not_run(tmp_path, space, pool):
    file = TensorFile(pool.folder / "mixed.safetensors")
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('sprung')\ndef make(classes, shape): ...\n")
    pool.members = (MemberInfo("mixed", 0, "teacher", 0, 0, {}, None, f"{evil}:make"),)
    with pytest.raises(DdkitError) as caught:
        pool.network(0)
    assert f"a network of several cannot come from a file ({evil}:make), use names" in str(
        caught.value
    )
    assert file.metadata["members"][0]["number"] == 0


def test_networks_of_a_training_are_trained_apart_where_they_differ(run):
    small = run(network=SPEC)
    mixed = RealTraining(small, "teacher", 3, RECIPE, (2,), together=3, networks=[WIDE, SPEC, WIDE])
    assert [each.together.size for each in mixed.tasks()] == [1, 1, 1]
    alike = RealTraining(small, "teacher", 2, RECIPE, (2,), together=3, networks=[WIDE, WIDE])
    assert [each.together.size for each in alike.tasks()] == [3, 3]
    with pytest.raises(DdkitError, match=r"the teachers: a network of several cannot come from"):
        RealTraining(small, "teacher", 1, RECIPE, (2,), networks=["nets.py:make"]).tasks()


def test_a_trained_pool_of_several_networks_has_them(run, tmp_path):
    small = run(network=SPEC)
    mixed = RealTraining(small, "teacher", 2, RECIPE, (2,), networks=[WIDE, SPEC])
    train_pool(mixed.tasks(), tmp_path / "mixed", DESCRIPTION, small.space, CPU)
    pool = Pool.open(tmp_path / "mixed")
    assert pool.networks == (WIDE, SPEC)
    plain = RealTraining(small, "teacher", 2, RECIPE, (2,))
    train_pool(plain.tasks(), tmp_path / "plain", DESCRIPTION, small.space, CPU)
    own = Pool.open(tmp_path / "plain").state(1)
    assert all(torch.equal(tensor, own[name]) for name, tensor in pool.state(1).items())
    assert pool.state(0)["classifier.weight"].shape != own["classifier.weight"].shape


def test_matching_refuses_a_pool_of_several_networks(pool, run):
    with pytest.raises(DdkitError) as caught:
        pairs(pool, run(network=SPEC))
    assert str(caught.value) == (
        f"the pool's networks are {SPEC}, {WIDE}, {DEEP}, but images are matched in {SPEC}: leave "
        "the pool out to train one"
    )


def test_a_budget_is_for_members_of_one_network_where_a_method_counts_so(pool):
    pool.check_countable(None)
    pool.fresh().check_countable(None)
    with pytest.raises(DdkitError) as caught:
        pool.check_countable(10**9)
    assert str(caught.value) == (
        f"--memory-budget: this method counts its networks as alike, but the pool has {SPEC}, "
        f"{WIDE}, {DEEP}: leave it out, or name a pool of one network"
    )
    pool.members = pool.members[:1]
    pool.check_countable(10**9)


@pytest.mark.parametrize("method", ["apm", "herding"])
def test_methods_of_any_teachers_work_with_several_networks(mixed_teachers, method):
    objective = mixed_teachers(method)
    shard = objective.shards()[0]
    leaf = objective.initialise(shard)["images"].value
    assert leaf.shape == (10, 1, 8, 8)
    if objective.steps:
        losses = [objective.loss(shard, {"images": leaf.requires_grad_()}, s) for s in range(3)]
        assert all(torch.isfinite(loss) for loss in losses)
    with pytest.raises(DdkitError, match="--memory-budget: this method counts its networks as al"):
        mixed_teachers(method, memory_budget=10**9)


class Options(MethodOptions):
    several: bool = option(False, "networks")

    @property
    def member_networks(self):
        return [WIDE, "resnet18"] if self.several else []


def test_networks_of_members_are_part_of_a_pools_description(method, run):
    method("toy", method_config=lambda: Options)

    def described(**options):
        source = StageConfig(plugin="toy", options=options)
        return stage_pools.pool_description(run(network=SPEC), source)

    assert "networks" not in described()
    assert described(several=True)["networks"] == [WIDE, "resnet18"]
