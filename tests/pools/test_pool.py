"""Pools: tasks in order, members on disk as soon as they exist, networks opened lazily."""

from functools import partial
from math import inf

import pytest
import torch
from torch import nn

from ddkit import networks
from ddkit.config import StageConfig
from ddkit.methods.options import MethodOptions, option
from ddkit.pipeline import stages as stage_pools
from ddkit.pools.pool import Pool
from ddkit.pools.tasks import Member, MemberTask
from ddkit.pools.training import train_pool
from ddkit.runtime.arithmetic import Arithmetic
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile

SPEC = "convnet:depth=1:width=4:norm=batch"
DESCRIPTION = {"network": SPEC, "classes": 3, "shape": [1, 8, 8]}
CPU = torch.device("cpu")


def fresh(seed: int, spec: str = SPEC) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    network = networks.create(spec, classes=3, shape=(1, 8, 8), generator=generator)
    for layer in networks.batch_norms(network):
        layer.running_mean.normal_(generator=generator)
    return network.eval()


def member(seed: int, **fields) -> Member:
    return Member(state=fresh(seed).state_dict(), **{"role": "teacher", **fields})


def three(context):
    """A task of three members, with seeds 0, 1, 2."""
    for number in range(3):
        yield number, member(number, step=number * 10)


def build(folder, tasks, space, description=DESCRIPTION) -> Pool:
    train_pool(tasks, folder, description, space, CPU)
    return Pool.open(folder)


@pytest.fixture
def space(run):
    return run().space


@pytest.fixture
def pool(tmp_path, space) -> Pool:
    return build(tmp_path / "pool", [MemberTask("trajectory", three)], space)


def test_members_come_back_with_all_that_was_said_of_them(tmp_path, space):
    def task(context):
        extra = {"means": torch.arange(3.0)}
        yield 4, member(0, role="expert", step=7, epoch=2, figures={"acc": 0.5}, extra=extra)

    pool = build(tmp_path, [MemberTask("only", task)], space)
    (info,) = pool.members
    assert (info.task, info.number, info.role) == ("only", 4, "expert")
    assert (info.step, info.epoch, info.figures, info.pruning) == (7, 2, {"acc": 0.5}, None)
    assert pool.extras(0)["means"].tolist() == [0, 1, 2]
    expected = fresh(0).state_dict()
    assert pool.state(0).keys() == expected.keys()
    assert all(torch.equal(pool.state(0)[name], expected[name]) for name in expected)
    assert pool.space().fingerprint() == space.fingerprint()


def test_tasks_run_in_order_and_see_the_members_they_need(tmp_path, space):
    seen = []

    def after(context):
        seen.append([info.task for info in context.pool.members])
        weights = context.pool.network(1).state_dict()
        yield 0, Member(state={k: v + 1 for k, v in weights.items()}, role="pruned")

    tasks = [MemberTask("first", three), MemberTask("second", after, needs=("first",))]
    pool = build(tmp_path, tasks, space)
    assert seen == [["first"] * 3]
    assert [info.task for info in pool.members] == ["first"] * 3 + ["second"]
    assert pool.with_role("pruned") == [3]
    assert pool.with_role("teacher", "pruned") == [0, 1, 2, 3]
    name = "classifier.bias"
    assert torch.equal(pool.state(3)[name], fresh(1).state_dict()[name] + 1)


def test_a_task_that_needs_a_later_one_is_refused(tmp_path, space):
    tasks = [MemberTask("second", three, needs=("first",)), MemberTask("first", three)]
    with pytest.raises(DdkitError) as caught:
        build(tmp_path, tasks, space)
    assert str(caught.value) == "pool task 'second' needs 'first', which comes later"


def test_a_network_is_frozen_and_in_eval_mode(pool):
    network = pool.network(0)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("keep", [1, 2, 5])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 2, 0, 1, 0], [1, 0, 1, 2, 1, 0, 0, 2]])
def test_any_order_of_members_gives_the_networks_that_were_stored(pool, keep, order):
    pool.max_loaded = keep
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    expected = [fresh(seed)(images) for seed in range(3)]
    for index in order:
        assert torch.equal(pool.network(index)(images), expected[index])
    for index in range(3):  # exchanging weights wrote nothing into the stored ones
        assert torch.equal(
            pool.state(index)["features.0.conv.weight"],
            fresh(index).state_dict()["features.0.conv.weight"],
        )


def test_as_many_networks_as_are_kept_are_valid_at_once(pool):
    pool.max_loaded = 2
    images = torch.randn(4, 1, 8, 8)
    first, second = pool.network(2), pool.network(0)
    assert torch.equal(first(images), fresh(2)(images))
    assert torch.equal(second(images), fresh(0)(images))
    assert pool.network(2) is first


BYTES = sum(tensor.nbytes for tensor in fresh(0).state_dict().values())


@pytest.mark.parametrize(
    ("room", "free", "held"),
    [
        (3 * BYTES, 2 * BYTES, 3),
        (3 * BYTES - 1, 2 * BYTES, 2),
        (3 * BYTES, 2 * BYTES - 1, 1),  # as much again would not be free
        (0, 10**9, 1),
    ],
)
def test_members_are_held_as_far_as_there_is_room(pool, monkeypatch, room, free, held):
    monkeypatch.setattr("ddkit.pools.pool.free_memory", lambda device: free)
    pool.room = room
    images = torch.randn(4, 1, 8, 8)
    assert len({id(pool.network(index)) for index in (0, 1, 2)}) == held
    for index in (0, 1, 2, 1):
        assert torch.equal(pool.network(index)(images), fresh(index)(images))
    assert len({id(pool.network(index)) for index in (0, 1, 2)}) == held


def test_room_for_less_than_what_is_valid_changes_nothing(pool):
    pool.max_loaded, pool.room = 2, BYTES
    first, second = pool.network(0), pool.network(1)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(first(images), fresh(0)(images))
    assert torch.equal(second(images), fresh(1)(images))


@pytest.mark.parametrize(("room", "copies"), [(inf, 3), (0, 9)])
def test_members_that_are_held_are_copied_to_a_device_once(pool, away, room, copies):
    pool = Pool.open(pool.folder, away.device)
    pool.room = room
    away.sent.clear()
    for _ in range(3):
        for index in (0, 1, 2):
            pool.network(index)
    assert len(away.sent) == copies * len(fresh(0).state_dict())
    assert away.waited == []


def test_members_that_are_held_are_laid_out_anew_where_they_are(tmp_path, space):
    deep = SPEC.replace("depth=1", "depth=2")  # one channel has the same order in either layout

    def task(context):
        for number in range(3):
            yield number, Member(state=fresh(number, deep).state_dict(), role="teacher")

    description = {**DESCRIPTION, "network": deep}
    pool = build(tmp_path / "pool", [MemberTask("deep", task)], space, description)
    pool.max_loaded = 2
    held = [pool.network(index) for index in (0, 1)]
    last, first = (Arithmetic(channels_last=last) for last in (True, False))
    images = torch.randn(4, 1, 8, 8)
    for arithmetic, strides in (
        (last, (36, 1, 12, 4)),
        (first, (36, 9, 3, 1)),
        (last, (36, 1, 12, 4)),
    ):
        pool.lay_out(arithmetic)
        assert [pool.network(index) for index in (0, 1)] == held
        assert all(network.features[1].conv.weight.stride() == strides for network in held)
        torch.testing.assert_close(held[1](images), fresh(1, deep)(images))
    assert pool.network(2).features[1].conv.weight.stride() == (36, 1, 12, 4)
    assert pool.state(0)["features.1.conv.weight"].is_contiguous()


def test_members_are_opened_when_they_are_asked_for(pool, monkeypatch):
    read = []
    original = TensorFile.read

    def watched(self, prefix=""):
        read.append(prefix)
        return original(self, prefix)

    monkeypatch.setattr(TensorFile, "read", watched)
    again = Pool.open(pool.folder)
    assert read == []
    again.network(2)
    assert read == ["2.state."]


def test_a_network_with_buffers_that_are_not_stored_fits_a_pool(tmp_path, space):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.linear = torch.nn.Linear(64, 3)\n"
        "        self.register_buffer('scale', torch.tensor(2.0), persistent=False)\n"
        "    def forward(self, x):\n"
        "        return self.linear(x.flatten(1)) * self.scale\n"
        "def net(classes, shape):\n"
        "    return Net()\n"
    )
    spec = f"{path}:net"

    def task(context):
        for seed in range(2):
            yield seed, Member(state=fresh(seed, spec).state_dict(), role="teacher")

    pool = build(
        tmp_path / "pool", [MemberTask("a", task)], space, {**DESCRIPTION, "network": spec}
    )
    images = torch.randn(4, 1, 8, 8)
    for index in (0, 1, 0):
        assert torch.equal(pool.network(index)(images), fresh(index, spec)(images))


class KilledError(Exception):
    pass


def dying(context, deadly: int):
    for number, made in three(context):
        if number == deadly:
            raise KilledError
        yield number, made


@pytest.mark.parametrize("deadly", [0, 1, 2])
def test_a_pool_whose_training_died_is_finished_to_the_same_bytes(tmp_path, space, pool, deadly):
    folder = tmp_path / "killed"
    with pytest.raises(KilledError):
        build(folder, [MemberTask("trajectory", partial(dying, deadly=deadly))], space)
    with pytest.raises(DdkitError, match="is not a finished pool"):
        Pool.open(folder)
    build(folder, [MemberTask("trajectory", three)], space)
    for name in ("trajectory.safetensors", "pool.json", "space.safetensors"):
        assert (folder / name).read_bytes() == (pool.folder / name).read_bytes()


def test_what_a_kill_left_half_written_does_not_matter(tmp_path, space, pool):
    folder = tmp_path / "killed"
    partial_folder = folder / "partial" / "trajectory"
    partial_folder.mkdir(parents=True)
    (partial_folder / ".member-00000.safetensors.x7_a").write_bytes(b"half a file")
    (partial_folder / "training.checkpoint.safetensors").write_bytes(b"of a stopped training")
    build(folder, [MemberTask("trajectory", three)], space)
    name = "trajectory.safetensors"
    assert (folder / name).read_bytes() == (pool.folder / name).read_bytes()


def test_finished_tasks_are_not_run_again(tmp_path, space):
    runs = []

    def counted(context, name):
        runs.append(name)
        yield 0, member(0)

    def failing(context):
        raise KilledError
        yield

    first = MemberTask("first", partial(counted, name="first"))
    with pytest.raises(KilledError):
        build(tmp_path, [first, MemberTask("second", failing)], space)
    build(tmp_path, [first, MemberTask("second", partial(counted, name="second"))], space)
    assert runs == ["first", "second"]


class Options(MethodOptions):
    epochs: int = option(3, "of the pool")
    rate: float = option(0.1, "of the images", stages=("synthesis", "relabel"))
    base: str | None = option(None, "a file")


@pytest.fixture
def key(method, run):
    """Return the key of the pool of a run with these options and configuration."""
    method("toy", method_config=lambda: Options)

    def key(options=None, **fields) -> str:
        described = stage_pools.pool_description(
            run(**{"network": SPEC, **fields}), StageConfig(plugin="toy", options=options or {})
        )
        return stable_hash(described)

    return key


def test_an_option_of_another_stage_does_not_change_the_pools_key(key):
    assert key({"epochs": 3, "rate": 0.1}) == key({"epochs": 3, "rate": 0.7})
    assert key({"epochs": 3}) != key({"epochs": 4})


def test_data_seed_network_and_space_change_the_pools_key(key, make_split):
    keys = [
        key(),
        key(seed=1),
        key(network="convnet:depth=2"),
        key(train=make_split(seed=5)),
        key(space="unit"),
        key(threads=2),
    ]
    assert len(set(keys)) == len(keys)


def test_images_per_class_and_init_do_not_change_the_pools_key(key):
    assert key() == key(ipc=5) == key(init="noise")


def test_a_file_among_the_options_counts_by_its_content(key, tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"{name}.pt").write_bytes(content)
    a, b, c = (key({"base": str(tmp_path / f"{name}.pt")}) for name in "abc")
    assert a == b != c


def test_a_network_of_the_users_own_counts_by_its_content(key, tmp_path):
    path = tmp_path / "net.py"
    path.write_text("def net(classes, shape): ...")
    before = key(network=f"{path}:net")
    path.write_text("def net(classes, shape): return 3")
    assert key(network=f"{path}:net") != before


def test_a_cached_pool_is_trained_once(method, run, data):
    trained = []

    def task(context):
        trained.append(1)
        yield 0, member(0)

    method("toy", method_config=lambda: Options, build_pool=lambda run: [MemberTask("only", task)])
    for seed in (0, 1):  # two distillation seeds share a pool
        work = run(plugin="toy", network=SPEC, seed=seed, pool_seed=5)
        assert len(stage_pools.open_pool(work, "synthesis")) == 1
    assert trained == [1]
    other = run(plugin="toy", network=SPEC, pool_seed=6)
    stage_pools.open_pool(other, "synthesis")
    assert trained == [1, 1]


def test_a_missing_or_spoilt_pool_is_refused(tmp_path):
    with pytest.raises(DdkitError, match=r"is not a finished pool: it has no pool.json"):
        Pool.open(tmp_path)
    (tmp_path / "pool.json").write_text("{")
    with pytest.raises(DdkitError, match=r"cannot read .*pool.json"):
        Pool.open(tmp_path)
