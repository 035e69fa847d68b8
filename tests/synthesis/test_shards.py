"""Groups of a set, what cannot have them or a budget, and choices that a run keeps."""

import json

import pytest
import torch

from ddkit.config import RunConfig
from ddkit.methods.options import MethodOptions
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.initial import initial_inputs
from ddkit.synthesis.objective import ImageObjective
from ddkit.synthesis.shards import Shard, group_shards


@pytest.mark.parametrize(
    ("ipc", "groups", "sizes"),
    [
        (5, 1, [5]),
        (6, 3, [2, 2, 2]),
        (5, 2, [3, 2]),
        (7, 3, [3, 2, 2]),
        (4, 4, [1, 1, 1, 1]),
    ],
)
def test_groups_hold_equal_numbers_of_indices_up_to_one_and_all_classes(run, ipc, groups, sizes):
    shards = group_shards(run(ipc=ipc), groups)
    assert [shard.index for shard in shards] == list(range(groups))
    assert [len(shard) for shard in shards] == [3 * size for size in sizes]
    start = 0
    for shard, size in zip(shards, sizes, strict=True):
        indices = range(start, start + size)
        assert shard.slots.tolist() == [label * ipc + i for label in range(3) for i in indices]
        assert shard.classes.tolist() == [label for label in range(3) for _ in range(size)]
        start += size
    assert torch.cat([s.slots for s in shards]).sort().values.tolist() == list(range(3 * ipc))


def test_an_objective_is_cut_into_the_groups_that_the_run_asks_for(run):
    class Plain(ImageObjective):
        def loss(self, shard, leaves, step):
            raise NotImplementedError

    assert [len(shard) for shard in Plain(run(ipc=4)).shards()] == [12]
    assert [len(shard) for shard in Plain(run(ipc=4, groups=3)).shards()] == [6, 3, 3]


def test_groups_start_from_the_same_real_images_as_the_whole_set(run):
    work = run(ipc=5)
    whole = initial_inputs(work, Shard.of(work, 0, torch.arange(15)))
    for shard in group_shards(work, 3):
        assert torch.equal(initial_inputs(work, shard), whole[shard.slots])


def refusal(method: str, **common) -> str:
    with pytest.raises(DdkitError) as error:
        resolve(Request(method, common, preset="none"))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("method", ["random", "tesla", "apm", "teddy"])
def test_more_groups_than_images_per_class_are_refused(method):
    line = refusal(method, ipc=2, groups=3)
    assert line == (
        "the options of the run: --groups 3 is more than the 2 images per class: a group holds "
        "at least one image per class"
    )
    assert resolve(Request(method, {"ipc": 2, "groups": 1}, preset="none")).groups == 1


def test_as_many_groups_as_images_per_class_are_allowed():
    assert resolve(Request("apm", {"ipc": 3, "groups": 3}, preset="none")).groups == 3


@pytest.mark.parametrize("groups", [0, -1])
def test_fewer_groups_than_one_are_refused(groups):
    line = refusal("apm", groups=groups)
    assert "option 'groups' of the run" in line
    assert f"greater than or equal to 1 (got {groups})" in line


@pytest.mark.parametrize("method", ["teddy", "sre2l"])
def test_groups_are_refused_where_the_method_cuts_the_set_by_itself(method):
    line = refusal(method, ipc=4, groups=2)
    assert line == f"--groups: the method '{method}' already divides the set into independent parts"


def test_a_budget_is_refused_where_a_method_does_not_say_that_it_keeps_one(method):
    line = refusal(method("toy"), memory_budget="1GB")
    assert line == (
        "--memory-budget: the method 'toy' cannot adapt to one; see `ddkit methods toy` for "
        "options such as batch sizes"
    )


@pytest.mark.parametrize(
    "name", ["teddy", "sre2l", "tesla", "mtt", "apm", "random", "herding", "k-center"]
)
def test_our_methods_keep_a_budget(name):
    assert resolve(Request(name, {"memory_budget": "1GB"}, preset="none")).memory_budget == 10**9


def test_a_method_that_keeps_a_budget_gets_it_in_bytes():
    assert not MethodOptions.keeps_budget
    assert resolve(Request("apm", {"memory_budget": "6.5GB"}, preset="none")).memory_budget == 6.5e9
    assert resolve(Request("apm", {}, preset="none")).memory_budget is None


@pytest.mark.parametrize("budget", ["much", "6.5G", "5 TB"])
def test_a_budget_that_is_no_size_is_refused(budget):
    line = refusal("apm", memory_budget=budget)
    assert line == (
        "option 'memory_budget' of the run: a size is a number with a unit, such as 6.5GB or "
        f"800MB (got '{budget}')"
    )


@pytest.mark.parametrize("budget", ["0", "0.4B", 0, -5])
def test_a_budget_of_nothing_is_refused(budget):
    assert "option 'memory_budget' of the run: Input should be greater than 0" in refusal(
        "apm", memory_budget=budget
    )


def test_a_configuration_keeps_groups_and_budget(tmp_path):
    from ddkit.config import load_config

    config = resolve(Request("apm", {"ipc": 4, "groups": 2, "memory_budget": "2GiB"}))
    config.save(tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config
    assert isinstance(config, RunConfig)
    assert (config.groups, config.memory_budget) == (2, 2**31)


def test_a_run_keeps_what_it_chose_first(run, tmp_path):
    asked = []

    def choose(value):
        def chosen():
            asked.append(value)
            return value

        return chosen

    first, again = run(), run()
    first.folder.mkdir()
    assert first.settled("segment", choose(5)) == 5
    assert first.settled("segment", choose(6)) == 5
    assert again.settled("segment", choose(7)) == 5
    assert again.settled("another", choose([1, {"a": None}])) == [1, {"a": None}]
    assert first.settled("another", choose(8)) == [1, {"a": None}]
    assert first.settled("segment", choose(9)) == 5
    assert asked == [5, [1, {"a": None}]]
    stored = json.loads((first.folder / "settled.json").read_text())
    assert stored == {"segment": 5, "another": [1, {"a": None}]}
    other = run(folder=tmp_path / "other")
    other.folder.mkdir()
    assert other.settled("segment", choose(7)) == 7


def test_a_choice_that_fails_is_not_kept(run):
    work = run()
    work.folder.mkdir()

    def failing():
        raise DdkitError("no")

    with pytest.raises(DdkitError):
        work.settled("segment", failing)
    assert work.settled("segment", lambda: 3) == 3


@pytest.mark.parametrize("value", [None, 0, False, []])
def test_a_choice_may_be_nothing(run, value):
    work = run()
    work.folder.mkdir()
    work.settled("choice", lambda: value)
    assert work.settled("choice", lambda: 1) == value
