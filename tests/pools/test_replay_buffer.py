"""Replay buffers of MTT, TESLA and FTD: imported bit by bit, and nothing wrong gets in."""

from pathlib import Path

import pytest
import torch

from ddkit import networks
from ddkit.data.options import DataOptions
from ddkit.data.sources import load as sources
from ddkit.data.space import InputSpace
from ddkit.pools import imported as imported_pool
from ddkit.pools.imported import import_replay
from ddkit.pools.pool import Pool
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import locked

SPEC = "convnet:depth=1:width=4"
SHAPE = (1, 8, 8)
DIGITS = DataOptions(name="digits")


def snapshot(seed: int, spec: str = SPEC) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    network = networks.create(spec, classes=10, shape=SHAPE, generator=generator)
    return [parameter.detach().clone() for parameter in network.parameters()]


def trajectories(experts: int = 2, epochs: int = 2, first: int = 0) -> list:
    return [
        [snapshot(first + 100 * expert + epoch) for epoch in range(epochs + 1)]
        for expert in range(experts)
    ]


@pytest.fixture
def buffer(tmp_path):
    """Return a function that writes anything as `torch.save` does, and returns the path."""

    def write(value, name: str = "replay_buffer_0.pt", **how) -> Path:
        torch.save(value, tmp_path / name, **how)
        return tmp_path / name

    return write


def add(*files: Path, network: str = SPEC, data: DataOptions = DIGITS, **more) -> Pool:
    return Pool.open(import_replay(files, data, network, **more).folder)


def refusal(*files: Path, **more) -> str:
    """Return the one line with which an import is refused; it leaves nothing in the cache."""
    folder = cache_folder("pools")
    before = sorted(folder.rglob("*"))
    with pytest.raises(DdkitError) as caught:
        add(*files, **more)
    assert sorted(folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_experts_come_back_bit_by_bit_over_all_files_in_order(buffer, zipped):
    how = {"_use_new_zipfile_serialization": zipped}
    first, second = trajectories(2), trajectories(1, first=1000)
    pool = add(buffer(first, "b.pt", **how), buffer(second, "a.pt", **how))
    assert pool.description["tasks"] == ["expert-0000", "expert-0001", "expert-0002"]
    assert len(pool) == 9
    names = list(dict(pool.network(0).named_parameters()))
    experts = [*first, *second]
    for index, member in enumerate(pool.members):
        assert (member.task, member.number) == (f"expert-000{index // 3}", index % 3)
        assert (member.role, member.epoch, member.step) == ("expert", index % 3, 0)
        state = pool.state(index)
        assert set(state) == set(pool.network(index).state_dict()) == set(names)
        for name, tensor in zip(names, experts[index // 3][index % 3], strict=True):
            assert torch.equal(state[name], tensor), (index, name)


def test_a_pool_says_what_it_is_and_where_it_came_from(buffer):
    pool = add(buffer(trajectories(1)), data=DataOptions(name="digits", holdout=0.2))
    said = pool.description
    whole = sources.load(DIGITS, "train")
    assert said["plugin"] == "imported"
    assert said["from"] == ["replay_buffer_0.pt"]
    assert (said["network"], said["network_fingerprint"]) == (SPEC, SPEC)
    assert (said["classes"], said["shape"], said["data_name"]) == (10, [1, 8, 8], "digits")
    assert (said["seed"], said["device"], said["mirror"]) == (None, "cpu", False)
    assert said["data"] not in ("", whole.fingerprint)  # the holdout is not part of it
    assert said["space"] == pool.space().fingerprint()


def test_the_input_space_follows_from_the_data_or_from_the_projects_constants(buffer):
    path = buffer(trajectories(1))
    train = sources.load(DIGITS, "train")
    fitted = InputSpace.fit(train, "standard")
    assert add(path).space().fingerprint() == fitted.fingerprint()
    whitened = add(path, data=DataOptions(name="digits", space="zca"))
    assert whitened.space().fingerprint() == InputSpace.fit(train, "zca").fingerprint()
    own = add(path, mean=[0.25], std=[0.5]).space()
    assert (own.kind, own.mean.tolist(), own.std.tolist()) == ("standard", [0.25], [0.5])


def test_bfloat16_takes_half_the_bytes_and_rounds_to_nearest(buffer):
    path = buffer(trajectories(1))
    whole, half = add(path), add(path, dtype="bfloat16")
    assert whole.folder != half.folder
    for index in range(len(whole)):
        for name, tensor in whole.state(index).items():
            assert half.state(index)[name].dtype == torch.bfloat16
            assert torch.equal(half.state(index)[name], tensor.bfloat16())


def test_parameters_that_share_their_weights_are_stored_under_both_names(tmp_path, buffer):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "def tied(classes, shape):\n"
        "    first, second = nn.Linear(64, 64, False), nn.Linear(64, 64, False)\n"
        "    second.weight = first.weight\n"
        "    return nn.Sequential(nn.Flatten(), first, second, nn.Linear(64, classes))\n"
    )
    expert = [snapshot(seed, f"{path}:tied") for seed in (0, 1)]
    assert len(expert[0]) == 3
    pool = add(buffer([expert]), network=f"{path}:tied")
    state = pool.state(1)
    assert torch.equal(state["1.weight"], expert[1][0])
    assert torch.equal(state["2.weight"], expert[1][0])
    assert torch.equal(state["3.bias"], expert[1][2])


def test_the_same_import_twice_is_one_pool(buffer):
    path = buffer(trajectories(1))
    first = add(path)
    assert first.folder.name.startswith("imported-")
    times = {file: file.stat().st_mtime_ns for file in first.folder.glob("*.*s*")}
    assert add(path).folder == first.folder
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert add(path, name="mine").folder.name == add(path, name="mine").folder.name == "mine"
    assert add(path, network=f"{SPEC}:norm=group").folder != first.folder


def test_a_name_that_another_pool_has_is_refused(buffer):
    add(buffer(trajectories(1)), name="mine")
    other = buffer(trajectories(1, first=5), "other.pt")
    assert refusal(other, name="mine") == (
        "there is already another pool 'mine': choose another --name, or delete that one (ddkit "
        "pool prune mine)"
    )


def test_a_pool_whose_training_was_stopped_is_not_overwritten(buffer):
    partial = cache_folder("pools") / "teddy-1234" / "partial"
    partial.mkdir(parents=True)
    with locked(partial.parent, "the pool"):
        pass
    assert "there is already another pool" in refusal(buffer(trajectories(1)), name="teddy-1234")


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "two words", "-m"])
def test_a_name_that_is_no_plain_name_is_refused(buffer, name):
    assert "use letters, digits" in refusal(buffer(trajectories(1)), name=name)


def test_what_a_killed_import_left_is_written_anew(buffer):
    path = buffer(trajectories(1))
    folder = add(path, name="whole").folder
    killed = cache_folder("pools") / "killed"
    killed.mkdir()
    for name in ("expert-0000.safetensors", "expert-0007.safetensors"):
        (killed / name).write_bytes(b"of another import")
    (killed / ".expert-0001.safetensors.abcd1234").write_bytes(b"half")
    add(path, name="killed")
    for name in ("expert-0000.safetensors", "pool.json", "space.safetensors"):
        assert (killed / name).read_bytes() == (folder / name).read_bytes()
    assert {file.name for file in killed.iterdir()} == {file.name for file in folder.iterdir()}


def test_an_import_that_fails_half_way_leaves_nothing(buffer, monkeypatch):
    path = buffer(trajectories(2))
    original = imported_pool.write_tensors

    def full(target, tensors, metadata=None):
        if target.name == "expert-0001.safetensors":
            raise KeyboardInterrupt
        original(target, tensors, metadata)

    monkeypatch.setattr(imported_pool, "write_tensors", full)
    with pytest.raises(KeyboardInterrupt):
        add(path)
    assert list(cache_folder("pools").iterdir()) == []


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_is_more_than_tensors_is_not_executed(buffer, tmp_path, zipped):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w').close()",))

    trap = [[[Trap()], snapshot(1)]]
    path = buffer(trap, "trap.pt", _use_new_zipfile_serialization=zipped)
    line = refusal(path)
    assert line.startswith(f"{path} is truncated or holds more than tensors")
    assert "nothing in it was executed" in line
    assert not (tmp_path / "sprung").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()  # so the trap works


def test_a_truncated_a_foreign_and_a_missing_file_are_refused(buffer, tmp_path):
    path = buffer(trajectories(1))
    path.write_bytes(path.read_bytes()[:-2000])
    assert "is truncated or holds more than tensors" in refusal(path)
    path.write_text("no buffer at all")
    assert "is truncated or holds more than tensors" in refusal(path)
    assert refusal(tmp_path / "none.pt") == f"no such file: {tmp_path / 'none.pt'}"


@pytest.mark.parametrize(
    "value",
    [
        {"state_dict": torch.zeros(2)},
        torch.zeros(3),
        [],
        [[]],
        [[[]]],
        [torch.zeros(3)],
        [[torch.zeros(3)]],
        [[[torch.zeros(3), 1.0]]],
        [[[torch.zeros(3, dtype=torch.int64)]]],
    ],
)
def test_what_is_no_list_of_lists_of_tensors_is_refused(buffer, value):
    path = buffer(value)
    assert refusal(path).startswith(f"{path} is not a replay buffer: it must be a list of experts")


def test_weights_of_another_network_are_refused_with_both_shapes(buffer):
    path = buffer(trajectories(1))
    assert refusal(path, network="convnet:depth=1:width=8") == (
        f"{path}, expert 0, epoch 0: a tensor of [4, 1, 3, 3] for the parameter "
        "features.0.conv.weight of [8, 1, 3, 3] of --network convnet:depth=1:width=8: name the "
        "network that was trained, such as --network convnet:depth=3:width=128, and the data with "
        "--classes and --resize as they were"
    )
    assert refusal(path, network="convnet:depth=2:width=4").startswith(
        f"{path}, expert 0, epoch 0: 6 tensors for the 10 parameters of "
        "--network convnet:depth=2:width=4: name the network"
    )


def test_a_wrong_shape_late_in_a_trajectory_is_found(buffer):
    value = trajectories(2)
    value[1][2][5] = torch.zeros(9)
    assert "expert 1, epoch 2: a tensor of [9] for the parameter classifier.bias of [10]" in (
        refusal(buffer(value))
    )


def test_trajectories_of_unequal_length_are_refused_over_all_files(buffer):
    long, short = buffer(trajectories(1, epochs=3), "a.pt"), buffer(trajectories(1), "b.pt")
    assert refusal(long, short) == (
        f"{short}, expert 0: it has 3 snapshots, but the first expert has 4: import trajectories "
        "of one length"
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(buffer, bad):
    value = trajectories(1)
    value[0][1][0][3, 0, 2, 2] = bad
    assert "expert 0, epoch 1: features.0.conv.weight holds values that are not finite" in (
        refusal(buffer(value))
    )


def test_an_expert_that_stands_still_is_refused(buffer):
    """On a CPU MTT's snapshots are one and the same storage, and all hold the last weights."""
    expert = snapshot(0)
    line = refusal(buffer([[expert, expert, expert]]))
    assert "expert 0: the last snapshot equals the first" in line


def test_a_network_with_running_statistics_is_refused(buffer):
    line = refusal(buffer(trajectories(1)), network=f"{SPEC}:norm=batch")
    assert line.startswith(
        f"--network {SPEC}:norm=batch has running statistics or other buffers "
        "(features.0.norm.running_mean)"
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"mean": [0.5] * 3, "std": [0.2]}, "--mean has 3 values, but the images of digits have 1"),
        ({"mean": [0.5], "std": [0.2, 0.2]}, "--std has 2 values, but the images of digits have 1"),
        ({"mean": [0.5]}, "--mean and --std belong together"),
        ({"std": [0.5]}, "--mean and --std belong together"),
        ({"mean": [0.5], "std": [0.0]}, "above 0"),
        ({"mean": [float("nan")], "std": [0.5]}, "must be finite"),
        (
            {"mean": [0.5], "std": [0.2], "data": DataOptions(name="digits", space="zca")},
            "--mean and --std are for --space standard, not zca",
        ),
    ],
)
def test_constants_that_do_not_fit_are_refused(buffer, more, words):
    assert words in refusal(buffer(trajectories(1)), **more)
