"""DATM's start epochs, a table by hand, and iterations that change nothing."""

from dataclasses import replace

import pytest
import torch
from ddkit_tesla.objective import TeslaObjective
from ddkit_tesla.options import TeslaOptions

from ddkit import DdkitError
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.arithmetic import EXACT
from ddkit.runtime.progress import Silent
from ddkit.synthesis.engine import take_step
from ddkit.synthesis.leaves import LeafState


@pytest.mark.parametrize(
    ("window", "steps", "most", "bounds"),
    [
        (10, 1000, 20, {0: 10, 99: 10, 100: 11, 199: 11, 999: 19, 1000: 20, 5000: 20}),
        (20, 2000, 40, {0: 20, 100: 21, 1000: 30, 1999: 39, 2000: 40}),
        (2, 3, 4, {0: 2, 1: 2, 2: 3, 3: 4, 4: 4}),
        (5, 10, 5, {0: 5, 10: 5}),
        (0, 0, 7, {0: 7, 10**6: 7}),
    ],
)
def test_the_window_grows_as_in_a_table_by_hand(window, steps, most, bounds):
    options = TeslaOptions(window=window, window_steps=steps, max_start_epoch=most)
    assert {step: options.last_start(step) + 1 for step in bounds} == bounds


def objective_of(run) -> TeslaObjective:
    return TeslaObjective(run, stage_pools.open_pool(run, "synthesis"))


@pytest.fixture
def brief_run(tesla_run):
    """Return a function that prepares a run of TESLA with one expert of three epochs."""
    return lambda *settings, **common: tesla_run("experts=1", *settings, **common)


def test_students_start_within_the_window(brief_run):
    window = ("min_start_epoch=1", "window=2", "window_steps=50", "max_start_epoch=3")
    objective = objective_of(brief_run(*window))
    shard = objective.shards()[0]
    starts = [objective._segment(shard, step)[1] for step in range(100)]
    assert set(starts[:50]) == {1}
    assert set(starts[50:]) == {1, 2}


def test_without_a_window_the_draws_are_as_they_were(brief_run):
    run = brief_run("max_start_epoch=3")
    objective = objective_of(run)
    for step in range(20):
        generator = run.generator("segment", step)
        torch.randint(1, (), generator=generator)
        drawn = int(torch.randint(3, (), generator=generator))
        assert objective._segment(objective.shards()[0], step)[1] == drawn


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("min_start_epoch=20",), r"min_start_epoch < window <= max_start_epoch \(got 20, none an"),
        (("min_start_epoch=3", "window=3", "window_steps=9"), r"\(got 3, 3 and 20\)"),
        (("window=21", "window_steps=9"), r"\(got 0, 21 and 20\)"),
        (("window=3",), r"window and window_steps belong together \(got 3 and 0\)"),
        (("window_steps=3",), r"window and window_steps belong together \(got 0 and 3\)"),
        (("skip_above=0",), "option 'skip_above'"),
        (("average=1",), "option 'average'"),
    ],
)
def test_windows_that_are_none_are_refused_in_one_line(tesla_run, settings, line):
    with pytest.raises(DdkitError, match=line) as error:
        tesla_run("max_start_epoch=20", "train_epochs=30", *settings)
    assert "\n" not in str(error.value)


def test_a_shorter_run_keeps_the_same_part_of_its_window_and_average():
    options = TeslaOptions(
        train_epochs=100,
        min_start_epoch=10,
        window=20,
        window_steps=2000,
        max_start_epoch=50,
        average=0.9999,
    )
    assert options.lowered("iterations", 1000) == {
        "iterations": 1000,
        "window_steps": 200,
        "average": pytest.approx(0.9999**10, abs=1e-6),
    }
    found = options.lowered("train_epochs", 20)
    wanted = {"min_start_epoch": 2, "window": 4, "max_start_epoch": 10, "train_epochs": 20}
    assert wanted.items() <= found.items()
    least = TeslaOptions(**{**options.model_dump(), **options.lowered("train_epochs", 2)})
    assert (least.min_start_epoch, least.window, least.max_start_epoch) == (0, 1, 1)
    assert TeslaOptions().lowered("iterations", 20) == {"iterations": 20}


RATES = ("lr_labels=1e-3", "lr_images=1e-3", "lr_lr=1e-9")  # losses stay as they are at first
LEARNED = ("labels=learned", "momentum_labels=0.9", *RATES)


def taken(objective: TeslaObjective, steps: list[int]) -> list[dict[str, dict[str, torch.Tensor]]]:
    """Return the state of all leaves before the first and after each of some steps."""
    shard = objective.shards()[0]
    leaves = {
        name: LeafState(leaf, torch.device("cpu"))
        for name, leaf in objective.initialise(shard).items()
    }
    states = []
    for step in [None, *steps]:
        if step is not None:
            take_step(objective, shard, leaves, step, EXACT)
        states.append(
            {
                name: {key: tensor.clone() for key, tensor in leaf.state_dict().items()}
                for name, leaf in leaves.items()
            }
        )
    return states


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        one[name].keys() == other[name].keys()
        and all(torch.equal(one[name][key], tensor) for key, tensor in other[name].items())
        for name in one
    )


@pytest.mark.parametrize("more", [(), ("batch_syn=4", "average=0.5")])
def test_a_step_above_the_bound_changes_nothing_and_is_as_if_it_never_was(brief_run, more):
    run = brief_run(*LEARNED, *more, "iterations=9")
    objective = objective_of(run)
    shard = objective.shards()[0]
    fresh = {k: leaf.value.requires_grad_() for k, leaf in objective.initialise(shard).items()}

    def loss(step: int) -> float:
        drawn = objective.draw(shard, step)
        leaves = {
            name: tensor.detach()[drawn[name]].requires_grad_() if name in drawn else tensor
            for name, tensor in fresh.items()
        }
        return float(objective.loss(shard, leaves, step).detach())

    losses = [loss(step) for step in range(8)]
    order = sorted(range(8), key=losses.__getitem__)
    above, *below = (order[7], *sorted(order[:3]))
    steps = [below[0], above, *below[1:]]
    bounded = run.options.model_copy(update={"skip_above": (losses[order[3]] + losses[above]) / 2})
    objective = objective_of(replace(run, options=bounded))
    states = taken(objective, steps)
    assert objective.skipped == 1
    assert same(states[1], states[2])  # values, momenta, average: to the byte
    assert not same(states[0], states[1])
    without = taken(objective, below)
    assert objective.skipped == 0
    assert same(states[-1], without[-1])
    momenta = states[-1]["labels"]
    assert any("momentum" in name for name in momenta)


class Notes(Silent):
    def __init__(self):
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_run_says_how_many_iterations_changed_nothing_after_a_stop_too(
    brief_run, synthesised, monkeypatch
):
    notes = Notes()
    run = replace(brief_run(*LEARNED, "skip_above=1e-9", "iterations=3"), progress=notes)
    plain = TeslaObjective.loss

    def killed(self, shard, leaves, step):
        if step == 2:
            raise RuntimeError("killed")
        return plain(self, shard, leaves, step)

    with monkeypatch.context() as patch:
        patch.setattr(TeslaObjective, "loss", killed)
        with pytest.raises(RuntimeError, match="killed"):
            synthesised(run, checkpoint_seconds=0)
    file = synthesised(run, checkpoint_seconds=0)
    assert torch.equal(file["images"], file["initial"])
    assert torch.isfinite(file["losses"]).all()
    assert file["losses"].min() > 0
    line = "3 of 3 iterations changed nothing, because their loss was above skip_above=1e-09"
    assert line in notes.said
    assert "skip_above" not in "".join(notes.said).replace(line, "")


def test_labels_have_a_momentum_of_their_own(brief_run):
    for settings, momentum in ((("momentum_labels=0.9",), 0.9), ((), 0.5)):
        objective = objective_of(brief_run("labels=learned", *settings))
        leaves = objective.initialise(objective.shards()[0])
        found = {
            name: leaf.optimiser([leaf.value.requires_grad_()]).param_groups[0]["momentum"]
            for name, leaf in leaves.items()
        }
        assert found == {"images": 0.5, "learning_rate": 0.5, "labels": momentum}
