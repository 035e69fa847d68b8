"""The pace of a shard: measured on real steps, of which nothing is left."""

import pytest

from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.initial import initial_real
from ddkit.synthesis.objective import ImageObjective


class Timed(ImageObjective):
    """Each step is noted. Step 0 takes 9 seconds, step n takes n."""

    steps = 10
    clock = 0.0

    def __init__(self, run):
        super().__init__(run)
        self.taken = []

    def loss(self, shard, leaves, step):
        self.taken.append((shard.index, step))
        Timed.clock += step or 9
        return leaves["images"].square().mean()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let time pass by the steps alone."""
    monkeypatch.setattr("time.perf_counter", lambda: Timed.clock)


def test_it_is_the_median_of_the_steps_after_the_first(run):
    objective = Timed(run(groups=2))
    assert Engine(objective.run, objective).pace(4, 60) == 2
    assert objective.taken == [(0, step) for step in range(4)]  # of the first shard


def test_of_many_steps_a_slow_one_decides_nothing(run):
    class Hiccup(Timed):
        steps = 100

        def loss(self, shard, leaves, step):
            Timed.clock += 5000 * (step == 7)
            return super().loss(shard, leaves, step)

    objective = Hiccup(run())
    assert Engine(objective.run, objective).pace(20, 9999) == (13 + 14 + 15 + 16) / 4
    assert len(objective.taken) == 20


def test_the_first_step_counts_where_there_is_no_other(run):
    objective = Timed(run())
    assert Engine(objective.run, objective).pace(1, 60) == 9
    assert Engine(objective.run, objective).pace(5, 0) == 9
    assert objective.taken == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("steps", "seconds", "taken"), [(40, 60, 10), (8, 10, 3), (8, 12, 4)])
def test_no_more_steps_are_taken_than_there_are_or_than_time_allows(run, steps, seconds, taken):
    objective = Timed(run())
    Engine(objective.run, objective).pace(steps, seconds)
    assert len(objective.taken) == taken


def test_what_was_measured_changes_nothing(run, tmp_path):
    def images(measured: bool):
        objective = Timed(run(folder=tmp_path / str(measured)))
        engine = Engine(objective.run, objective)
        if measured:
            engine.pace(3, 60)
            engine.first_step()
            assert not objective.run.folder.exists()
        engine.synthesise()
        return TensorFile(engine.file(objective.shards()[0]).path)["images"]

    assert images(True).equal(images(False))


def test_the_first_step_says_what_the_run_will_measure(run):
    objective = Timed(run())
    engine = Engine(objective.run, objective)
    images, peak = engine.first_step()
    engine.synthesise()
    assert peak == TensorFile(engine.file(objective.shards()[0]).path).metadata["peak_bytes"]
    assert (images.images != initial_real(objective.run)).any()
    with PeakMemory() as memory:
        engine.first_step()
    assert memory.peak > peak  # the leaves lie there before the step
