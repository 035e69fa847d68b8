"""Tasks of a pool that are trained at once, as one batched network."""

import json
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from ddkit import Member, MemberTask, Pool, networks
from ddkit.pools import training as pool_training
from ddkit.pools.tasks import Stacked
from ddkit.runtime.errors import DdkitError
from ddkit.training import loop as training
from ddkit.training.loop import fit
from ddkit.training.recipe import Recipe
from ddkit.training.stacked import fit_together

SPEC = "convnet:depth=1:width=4:norm=batch"
DESCRIPTION = {"network": SPEC, "classes": 3, "shape": [1, 8, 8]}
STEPS = 3
RECIPE = Recipe(epochs=3, lr=0.05, schedule="cosine")
EXPERTS = [f"expert-{number}" for number in range(5)]
CPU = torch.device("cpu")


class KilledError(Exception):
    pass


@dataclass
class Experts:
    """Five tiny experts with a member per epoch, which note what was trained, and die on demand."""

    worth: bool = True
    size: int = 2
    dies_after: int | None = None  # so many members
    trained: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    asked: int = 0

    def tasks(self) -> list[MemberTask]:
        together = Stacked(self.size, self.train_together, self.worthwhile)
        return [MemberTask(name, self.alone(name), together=together) for name in EXPERTS]

    def worthwhile(self) -> bool:
        self.asked += 1
        return self.worth

    def alone(self, name):
        def train(context):
            self.trained.append((name,))
            network = self.network(name)
            for position in fit(
                network,
                lambda epoch: self.batches(name, epoch),
                RECIPE,
                steps_per_epoch=STEPS,
                seed=0,
                checkpoint=context.checkpoint,
            ):
                self.steps.append(position.step)
                if position.epoch_ends:
                    yield position.epoch, self.member(network, position)

        return train

    def train_together(self, names, context):
        self.trained.append(tuple(names))
        models = [self.network(name) for name in names]

        def batches(epoch):
            for each in zip(*(self.batches(name, epoch) for name in names), strict=True):
                images, labels = zip(*each, strict=True)
                yield torch.stack(images), torch.stack(labels)

        for position in fit_together(
            models, batches, RECIPE, steps_per_epoch=STEPS, seed=0, checkpoint=context.checkpoint
        ):
            self.steps.append(position.step)
            if position.epoch_ends:
                for name, model in zip(names, models, strict=True):
                    yield name, position.epoch, self.member(model, position)

    def network(self, name: str) -> nn.Module:
        generator = torch.Generator().manual_seed(EXPERTS.index(name))
        return networks.create(SPEC, classes=3, shape=(1, 8, 8), generator=generator)

    def batches(self, name, epoch):
        generator = torch.Generator().manual_seed(100 * epoch + EXPERTS.index(name))
        for _ in range(STEPS):
            images = torch.randn(6, 1, 8, 8, generator=generator)
            yield images, torch.randint(3, (6,), generator=generator)

    def member(self, network, position) -> Member:
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise KilledError
            self.dies_after -= 1
        return Member(network.state_dict(), "expert", position.step, position.epoch)


@pytest.fixture
def build(tmp_path, run):
    """Train a pool of experts in a folder of this name, and open it."""
    space = run().space

    def build(experts: Experts, name: str = "pool", tasks=None) -> Pool:
        pool_training.train_pool(tasks or experts.tasks(), tmp_path / name, DESCRIPTION, space, CPU)
        return Pool.open(tmp_path / name)

    return build


def contents(pool: Pool) -> dict[str, bytes]:
    return {
        path.relative_to(pool.folder).as_posix(): path.read_bytes()
        for path in pool.folder.rglob("*")
        if path.is_file()
    }


def test_tasks_trained_at_once_give_the_members_of_tasks_trained_alone(build):
    at_once, alone = Experts(), Experts(worth=False)
    found, expected = build(at_once, "at-once"), build(alone, "alone")
    assert at_once.trained == [tuple(EXPERTS[:2]), tuple(EXPERTS[2:4]), (EXPERTS[4],)]
    assert alone.trained == [(name,) for name in EXPERTS]
    assert found.members == expected.members
    assert [(m.task, m.number) for m in found.members] == [
        (n, e) for n in EXPERTS for e in (1, 2, 3)
    ]
    for index in range(len(found)):
        for name, tensor in expected.state(index).items():
            torch.testing.assert_close(found.state(index)[name], tensor, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found.state(0)["classifier.weight"], found.state(3)["classifier.weight"])


def test_every_task_has_a_file_of_its_own_and_nothing_else_is_left(build):
    files = {"pool.json", "space.safetensors", "together.json"}
    assert contents(build(Experts())).keys() == files | {f"{name}.safetensors" for name in EXPERTS}


@pytest.mark.parametrize("worth", [True, False])
def test_whether_it_is_worthwhile_is_asked_once_and_remembered(build, worth):
    first = Experts(worth=worth, dies_after=4)
    with pytest.raises(KilledError):
        build(first)
    second = Experts(worth=not worth)
    pool = build(second)
    assert (first.asked, second.asked) == (1, 0)
    assert contents(pool) == contents(build(Experts(worth=worth), "never killed"))
    groups = json.loads((pool.folder / "together.json").read_text())
    expected = [EXPERTS[:2], EXPERTS[2:4], EXPERTS[4:]] if worth else [[n] for n in EXPERTS]
    assert groups == expected


def test_the_answer_is_on_disk_before_anything_is_trained(build, tmp_path):
    with pytest.raises(KilledError):
        build(Experts(dies_after=0))
    assert (tmp_path / "pool" / "together.json").exists()


def test_a_killed_pool_keeps_its_groups_even_if_others_would_fit_today(build):
    with pytest.raises(KilledError):
        build(Experts(size=3, dies_after=4))
    again = Experts(size=2)
    build(again)
    assert again.trained == [tuple(EXPERTS[:3]), tuple(EXPERTS[3:])]


@pytest.mark.parametrize("deadly", [0, 1, 2, 5, 6, 11, 12, 14])
def test_a_pool_that_died_goes_on_from_its_checkpoint_to_the_same_bytes(
    build, tmp_path, monkeypatch, deadly
):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(KilledError):
        build(Experts(dies_after=deadly))
    group, members = divmod(deadly, 6)
    epoch = members // (2 if group < 2 else 1)  # the third group is one expert
    partial = tmp_path / "pool" / "partial"
    checkpoints = {path.parent.name for path in partial.rglob("training.checkpoint.safetensors")}
    assert checkpoints == {EXPERTS[2 * group]}
    written = sorted(path.parent.name for path in partial.rglob("member-*"))
    assert len(written) == members
    again = Experts()
    pool = build(again)
    assert again.steps[0] == (epoch + 1) * STEPS  # the one that died, and no earlier one
    assert contents(pool) == contents(build(Experts(), "never killed"))


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_pool_killed_while_the_files_are_written_is_finished_to_the_same_bytes(
    build, monkeypatch, written
):
    merge, done = pool_training._merge, []

    def dying(partial, path):
        if len(done) == written:
            raise KilledError
        merge(partial, path)
        done.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(pool_training, "_merge", dying)
        with pytest.raises(KilledError):
            build(Experts())
    again = Experts()
    pool = build(again)
    assert again.trained[0] == tuple(EXPERTS[2:4] if written < 2 else EXPERTS[4:])  # not anew
    assert contents(pool) == contents(build(Experts(), "never killed"))


def test_a_pool_killed_while_it_tidies_up_is_tidied_up_later(build, monkeypatch):
    def dying(path, **_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pool_training.shutil, "rmtree", dying)
        with pytest.raises(KilledError):
            build(Experts())
    assert contents(build(Experts())) == contents(build(Experts(), "never killed"))


def test_a_group_of_which_a_file_is_missing_is_trained_again(build):
    pool = build(Experts())
    whole = contents(pool)
    (pool.folder / f"{EXPERTS[3]}.safetensors").unlink()
    again = Experts()
    assert contents(build(again)) == whole
    assert again.trained == [tuple(EXPERTS[2:4])]


def test_other_tasks_get_a_plan_of_their_own(build):
    build(Experts())
    fewer = Experts()
    pool = build(fewer, tasks=fewer.tasks()[:3])
    assert json.loads((pool.folder / "together.json").read_text()) == [EXPERTS[:2], EXPERTS[2:3]]


def test_tasks_that_share_nothing_are_asked_nothing(build):
    experts = Experts()
    tasks = [MemberTask(task.name, task.train) for task in experts.tasks()]
    pool = build(experts, tasks=tasks)
    assert experts.asked == 0
    assert experts.trained == [(name,) for name in EXPERTS]
    assert "together.json" not in contents(pool)


def test_only_neighbours_that_share_the_same_object_are_trained_at_once(build):
    experts = Experts()
    first, second = experts.tasks(), experts.tasks()  # of one Stacked each
    mixed = [first[0], second[1], second[2], MemberTask(EXPERTS[3], first[3].train), first[4]]
    build(experts, tasks=mixed)
    assert experts.trained == [
        (EXPERTS[0],),
        (EXPERTS[1], EXPERTS[2]),
        (EXPERTS[3],),
        (EXPERTS[4],),
    ]


def test_a_task_that_needs_another_is_not_trained_at_once_with_it(build):
    experts = Experts(size=5)
    tasks = experts.tasks()
    tasks[2] = MemberTask(
        EXPERTS[2], tasks[2].train, needs=(EXPERTS[1],), together=tasks[0].together
    )
    build(experts, tasks=tasks)
    assert experts.trained == [tuple(EXPERTS[:2]), tuple(EXPERTS[2:])]


def test_a_group_that_needs_a_later_task_is_refused(build):
    experts = Experts()
    tasks = experts.tasks()
    tasks[1] = MemberTask(EXPERTS[1], tasks[1].train, needs=("base",), together=tasks[0].together)
    with pytest.raises(DdkitError, match="pool task 'expert-1' needs 'base', which comes later"):
        build(experts, tasks=tasks)
    assert experts.trained == []
