"""APM in groups: parts of the set that are distilled apart, with rounds of their own."""

from dataclasses import replace

import pytest
import torch
from ddkit_apm.objective import ApmObjective

from ddkit import Run
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.initial import initial_real
from tests.plugins.apm.test_objective import objective_of, without_cost


def test_a_killed_run_with_groups_ends_in_the_same_artifact(apm_run, monkeypatch, request_stop):
    run = apm_run("rounds=2", ipc=2, groups=2)
    whole = pipeline.distill(run.config, run.folder.parent / "whole").read_bytes()
    plain = ApmObjective.loss
    with monkeypatch.context() as patch:

        def interrupted(self, shard, leaves, step):
            if (shard.index, step) == (1, 1):
                request_stop()
            return plain(self, shard, leaves, step)

        patch.setattr(ApmObjective, "loss", interrupted)
        with pytest.raises(Stopped):
            pipeline.distill(run.config, run.folder.parent / "killed")
    interrupt._requested.clear()
    resumed = pipeline.distill(run.config, run.folder.parent / "killed")
    assert resumed.read_bytes() == whole


def shards_of(run: Run, order: list[int], folder: str) -> dict[int, TensorFile]:
    """Synthesise the groups of a run in this order; return each one's file."""
    run = replace(run, folder=run.folder.with_name(folder))
    objective = objective_of(run)
    shards = objective.shards()
    objective.shards = lambda: [shards[index] for index in order]
    engine = Engine(run, objective)
    engine.synthesise()
    return {shard.index: TensorFile(engine.file(shard).path) for shard in shards}


def test_groups_start_from_the_images_of_a_run_without_and_have_each_slot_once(apm_run):
    run = apm_run("rounds=1", ipc=3, groups=2)
    files = shards_of(run, [0, 1], "run")
    initial = initial_real(run)
    assert sorted(torch.cat([file["slots"] for file in files.values()]).tolist()) == list(range(30))
    for file in files.values():
        torch.testing.assert_close(file["initial"], initial[file["slots"]], rtol=0, atol=1e-5)
        assert torch.equal(file["classes"], file["slots"] // 3)
        assert (file["images"] != file["initial"]).flatten(1).any(1).all()


@pytest.mark.parametrize("every", [1, 2])
def test_groups_know_nothing_of_each_other(apm_run, every):
    run = apm_run("rounds=2", f"student_every={every}", "batch_syn=7", ipc=3, groups=3)
    forwards, backwards = shards_of(run, [0, 1, 2], "a"), shards_of(run, [2, 1, 0], "b")
    for index, file in forwards.items():
        assert without_cost(file) == without_cost(backwards[index])


def test_groups_have_rounds_of_their_own(apm_run):
    objective = objective_of(apm_run("batch_syn=4", "rounds=8", ipc=2, groups=2))
    one, two = (
        [objective.draw(shard, step)["images"].tolist() for step in range(8)]
        for shard in objective.shards()
    )
    assert one != two
    assert max(max(rows) for rows in one + two) < 10  # rows of the group, not slots of the set


def test_the_first_group_is_a_run_of_as_many_images_per_class(apm_run, synthesised):
    settings = ("rounds=3", "batch_syn=6", "student_every=2")
    alone = synthesised(apm_run(*settings), "alone")
    group = shards_of(apm_run(*settings, ipc=2, groups=2), [0, 1], "groups")[0]
    for name in ("initial", "images", "losses", "classes"):
        assert torch.equal(group[name], alone[name])
    assert group["slots"].tolist() == [2 * slot for slot in range(10)]


def test_the_artifact_holds_the_groups_in_the_order_of_the_set(apm_run):
    run = apm_run("rounds=1", ipc=3, groups=2, store="float32")
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.classes.tolist() == [label for label in range(10) for _ in range(3)]
    files = [TensorFile(path) for path in sorted(run.folder.glob("shards/*.safetensors"))]
    assert len(files) == 2
    for file in files:
        assert torch.equal(distilled.pixels(file["slots"]), file["images"])
