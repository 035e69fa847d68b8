"""A memory budget chooses the segment: what it keeps to, what stays chosen, what it refuses."""

import json
import re

import ddkit_apm.objective
import pytest
import torch
from ddkit_apm.distances import DISTANCES
from ddkit_apm.matching import prediction_matching
from ddkit_apm.memory import check_budget
from ddkit_apm.objective import ApmObjective
from ddkit_apm.students import as_function

from ddkit import DdkitError, Run
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.memory import PeakMemory
from ddkit.synthesis.initial import initial_inputs

pytestmark = pytest.mark.usefixtures("shared_pools")
NARROW = "convnet:depth=1:width=4"  # images take much, weights little
QUICK = ("student_epochs=2", "student_batch=4", "train_epochs=1", "rounds=2")


@pytest.fixture
def narrow_run(apm_run):
    """Return a function that prepares a run of 40 images whose weights take little."""

    def make(*settings: str, **common) -> Run:
        return apm_run(*QUICK, *settings, **{"network": NARROW, "ipc": 4, **common})

    return make


def needed(run: Run, *segments: int) -> list[int]:
    """Return the bytes of a round's update for each segment: networks, images, what is live."""
    objective = ApmObjective(run, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    inputs = initial_inputs(run, shard)
    teacher = objective.pool.network(0)
    states = [run.network(run.generator("any", n)).state_dict() for n in range(2)]
    students = [as_function(objective.skeleton, state) for state in states]
    weights = sum(
        tensor.nbytes
        for state in (teacher.state_dict(), objective.skeleton.state_dict(), *states)
        for tensor in state.values()
    )
    found = []
    for segment in segments:
        with PeakMemory() as memory:
            prediction_matching(
                inputs, shard.classes, teacher, students, DISTANCES["l1"], segment=segment
            )
        found.append(weights + 2 * inputs.nbytes + memory.peak)  # images and their momentum
    return found


def chosen(run: Run, folder: str = "run") -> int:
    return json.loads((run.folder.with_name(folder) / "settled.json").read_text())["segment"]


@pytest.mark.parametrize("images", [2, 16, 23])
def test_the_segment_keeps_to_the_budget_and_a_larger_one_would_not(
    narrow_run, synthesised, images
):
    budget = needed(narrow_run(), images)[0] + 2000  # not enough for one image more
    run = narrow_run(f"student_batch={min(images // 2, 4)}", memory_budget=budget)
    synthesised(run)
    segment = chosen(run)
    assert 1 <= segment < 40
    fits, larger = needed(run, segment, max(segment + 1, int(1.3 * segment)))
    assert fits <= budget < larger
    assert segment >= 0.95 * images - 1  # two segments are measured, one was asked for


def test_a_segment_after_another_keeps_to_the_budget_too(narrow_run, synthesised):
    budget = int(1.02 * needed(narrow_run(), 16)[0])
    run = narrow_run(memory_budget=budget)
    synthesised(run)
    assert needed(run, chosen(run))[0] <= budget


def test_a_large_budget_takes_all_images_at_once(narrow_run, synthesised):
    run = narrow_run(memory_budget="1GB")
    synthesised(run)
    assert chosen(run) == 40


def test_a_budget_changes_the_images_by_rounding_only(narrow_run, synthesised):
    settings = ("batch_syn=30", "lr_images=20")
    plain = synthesised(narrow_run(*settings), "plain")
    run = narrow_run(*settings, memory_budget=needed(narrow_run(), 7)[0])
    budgeted = synthesised(run, "budget")
    assert 1 < chosen(run, "budget") < 10
    torch.testing.assert_close(budgeted["images"], plain["images"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(budgeted["losses"], plain["losses"], rtol=1e-5, atol=1e-5)
    assert (plain["images"] - plain["initial"]).abs().max() > 1e-3


def test_without_a_budget_nothing_is_chosen(narrow_run, synthesised):
    run = narrow_run()
    synthesised(run)
    assert not (run.folder / "settled.json").exists()


def segments_used(monkeypatch) -> list[int]:
    """Return a list to which the segment of every round from now on is added."""
    used = []

    def watched(*arguments, **options):
        used.append(options["segment"])
        return prediction_matching(*arguments, **options)

    monkeypatch.setattr(ddkit_apm.objective, "prediction_matching", watched)
    return used


def test_a_run_that_goes_on_keeps_the_segment_that_it_chose(
    narrow_run, synthesised, monkeypatch, request_stop
):
    """Even where today another one would fit."""
    run = narrow_run("rounds=3", memory_budget=needed(narrow_run(), 5)[0])
    whole = synthesised(run, "whole").read()
    plain = ApmObjective.loss
    with monkeypatch.context() as patch:

        def interrupted(self, shard, leaves, step):
            if step == 1:
                request_stop()
            return plain(self, shard, leaves, step)

        patch.setattr(ApmObjective, "loss", interrupted)
        with pytest.raises(Stopped):
            synthesised(run, "killed", checkpoint_seconds=0)
    interrupt._requested.clear()
    assert chosen(run, "killed") == 5
    monkeypatch.setattr(ddkit_apm.objective, "fitting_segment", lambda *_: 1)
    used = segments_used(monkeypatch)
    resumed = synthesised(run, "killed", checkpoint_seconds=0).read()
    assert used == [5, 5]
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    synthesised(run, "other")
    assert used[2:] == [1] * 3


def test_a_segment_that_was_said_is_used(narrow_run, synthesised, monkeypatch):
    used = segments_used(monkeypatch)
    synthesised(narrow_run("segment=7"))
    assert used == [7, 7]


def size(text: str) -> float:
    """Return the size at the end of "… needs 32.9 kB …", rounded up."""
    number, unit = re.search(r"needs ([\d.]+) (kB|MB)", text).groups()
    return (float(number) + 0.1) * {"kB": 1e3, "MB": 1e6}[unit]


def test_a_budget_below_one_image_is_refused_and_the_smallest_is_named(narrow_run, synthesised):
    with pytest.raises(DdkitError) as error:
        synthesised(narrow_run(memory_budget="9kB"))
    line = str(error.value)
    assert re.fullmatch(
        r"--memory-budget 9\.0 kB is too small: a segment of 1 image, the smallest, "
        r"needs [\d.]+ kB",
        line,
    )
    assert size(line) == pytest.approx(needed(narrow_run(), 1)[0], rel=0.05)


def test_a_budget_below_a_students_training_is_refused(narrow_run, synthesised):
    budget = needed(narrow_run(), 5)[0]
    with pytest.raises(DdkitError) as error:
        synthesised(narrow_run("student_batch=30", memory_budget=budget))
    line = str(error.value)
    assert re.fullmatch(
        rf"--memory-budget {budget / 1000:.1f} kB is too small: training a student with batches "
        r"of 30 images needs [\d.]+ kB; lower student_batch",
        line,
    )
    synthesised(narrow_run("student_batch=30", memory_budget=int(size(line))), "enough")
    synthesised(narrow_run("student_batch=5", memory_budget=budget), "lower")
    assert chosen(narrow_run(), "lower") == 5


def test_a_whole_round_keeps_to_the_budget(narrow_run, synthesised):
    budget = needed(narrow_run(ipc=12), 16)[0]
    file = synthesised(narrow_run(ipc=12, memory_budget=budget))
    assert file.metadata["peak_bytes"] <= budget


def test_a_segment_that_does_not_fit_the_budget_is_refused(narrow_run, synthesised):
    with pytest.raises(DdkitError, match="segment"):
        synthesised(narrow_run("segment=40", memory_budget=needed(narrow_run(), 5)[0]))


def test_a_budget_that_is_too_small_is_found_before_a_teacher_is_trained(narrow_run, monkeypatch):
    monkeypatch.setattr(
        "ddkit.pipeline.stages.train_pool", lambda *_: pytest.fail("trained a pool")
    )
    run = narrow_run(memory_budget="9kB")
    with pytest.raises(DdkitError, match=r"a segment of 1 image, the smallest, needs [\d.]+ kB"):
        pipeline.distill(run.config, run.folder)
    assert not run.folder.exists()


def test_the_early_figure_is_that_of_the_round(narrow_run, synthesised):
    """What untrained networks need is what trained ones need."""
    run = narrow_run(memory_budget="9kB")
    with pytest.raises(DdkitError) as early:
        check_budget(run)
    with pytest.raises(DdkitError) as late:
        synthesised(run)
    assert str(early.value) == str(late.value)


def test_momentum_of_the_whole_set_counts_where_it_moves_on(narrow_run):
    drawn, dense = (
        narrow_run("batch_syn=10", f"dense_momentum={way}", memory_budget="9kB")
        for way in ("false", "true")
    )
    sizes = []
    for run in (drawn, dense):
        with pytest.raises(DdkitError) as error:
            check_budget(run)
        sizes.append(size(str(error.value)))
    image = 8 * 8 * 4
    # the leaf and its momentum are 40 images instead of 10; a gradient of 40 and a copy of 10 come
    assert sizes[1] - sizes[0] == pytest.approx((2 * 30 + 40 + 10) * image, abs=200)
