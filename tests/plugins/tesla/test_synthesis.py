"""Whole syntheses: what they change, what the artifact holds, what stops them, what a kill does."""

import re
from dataclasses import replace

import pytest
import torch
from ddkit_tesla.objective import TeslaObjective, one_hot_logits

from ddkit import DdkitError, Run
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.initial import initial_real

pytestmark = pytest.mark.usefixtures("shared_pools")
PLAIN = ("experts=1", "max_start_epoch=1", "expert_epochs=2", "augmentation=none")


def objective_of(run: Run) -> TeslaObjective:
    return TeslaObjective(run, stage_pools.open_pool(run, "synthesis"))


def elsewhere(run: Run) -> TeslaObjective:
    """Return the run's objective in another folder, to look at: it settles what is measured."""
    return objective_of(replace(run, folder=run.folder.with_name("elsewhere")))


def shard_of(run: Run) -> TensorFile:
    return TensorFile(run.folder / "shards" / "shard-00000.safetensors")


def test_the_synthesis_moves_images_and_learning_rate_and_lowers_the_loss(tesla_run, synthesised):
    run = tesla_run(*PLAIN, "iterations=40", "lr_images=50", "lr_lr=1e-3", "student_steps=5")
    file = synthesised(run)
    losses = file["losses"]
    assert torch.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]
    assert (file["images"] != file["initial"]).flatten(1).any(1).all()
    assert float(file["learning_rate"]) != pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_images_that_no_student_sees_are_not_changed(tesla_run, synthesised, labels):
    run = tesla_run(
        "batch_syn=3", "student_steps=2", "iterations=2", f"labels={labels}", "momentum=0.9"
    )
    objective = objective_of(run)
    shard = objective.shards()[0]
    drawn = [objective.draw(shard, step) for step in range(2)]
    names = {"images", "labels"} if labels == "learned" else {"images"}
    assert all(set(rows) == names for rows in drawn)
    assert all(len(rows["images"]) == 6 for rows in drawn)
    seen = torch.cat([rows["images"] for rows in drawn]).unique()
    unseen = torch.tensor([row for row in range(10) if row not in seen.tolist()])
    assert len(unseen) > 0
    file = synthesised(run)
    assert torch.equal(file["images"][unseen], file["initial"][unseen])
    assert (file["images"][seen] != file["initial"][seen]).flatten(1).any(1).all()
    if labels == "learned":
        fresh = one_hot_logits(shard.classes, 10, 0.99)
        assert torch.equal(file["label_logits"][unseen], fresh[unseen])
        assert (file["label_logits"][seen] != fresh[seen]).any(1).all()


def test_learned_labels_begin_near_the_class_and_are_what_the_artifact_holds(tesla_run):
    settings = ("labels=learned", "label_confidence=0.9", "iterations=2", "lr_labels=100")
    run = tesla_run(*settings)
    shard = objective_of(run).shards()[0]
    logits = elsewhere(run).initialise(shard)["labels"].value
    begun = logits.softmax(1)
    assert begun.diagonal().tolist() == pytest.approx([0.9] * 10, rel=1e-5)
    assert begun[0, 1:].tolist() == pytest.approx([0.1 / 9] * 9, rel=1e-5)
    distilled = load(pipeline.distill(run.config, run.folder))
    learned = shard_of(run)["label_logits"]
    assert (learned != logits).any(1).all()
    assert learned.shape == (10, 10)
    assert distilled.labels.kind == "soft"
    assert torch.equal(distilled.label_logits, learned)
    assert torch.equal(distilled.labels.targets(torch.arange(10), 0), learned)
    assert torch.equal(distilled.classes, shard.classes)


def test_hard_labels_are_the_classes_of_the_artifact_too(tesla_run):
    run = tesla_run("labels=hard", "iterations=1")
    assert set(elsewhere(run).initialise(objective_of(run).shards()[0])) == {
        "images",
        "learning_rate",
    }
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "hard"
    assert distilled.label_logits is None
    assert distilled.labels.targets(torch.arange(10), 0).tolist() == list(range(10))


def test_the_artifact_has_the_learned_learning_rate(tesla_run):
    run = tesla_run("lr_lr=1e-3")
    distilled = load(pipeline.distill(run.config, run.folder))
    learned = shard_of(run)["learning_rate"]
    assert distilled.learning_rate == float(learned)
    assert distilled.learning_rate != pytest.approx(0.05, abs=1e-6)


def test_without_a_learning_rate_of_its_own_the_students_stays(tesla_run, synthesised):
    assert float(synthesised(tesla_run("lr_lr=0"))["learning_rate"]) == pytest.approx(0.05)


def test_the_students_learning_rate_is_kept_above_its_bound(tesla_run, synthesised):
    """One far too large makes the loss grow: a huge step down from it meets the bound."""
    run = tesla_run(
        *PLAIN,
        "lr_student=5",
        "lr_student_min=0.02",
        "lr_lr=1e6",
        "lr_images=0.1",
        "iterations=1",
        "labels=hard",
    )
    assert float(synthesised(run)["learning_rate"]) == pytest.approx(0.02)


def test_a_students_learning_rate_that_runs_away_stops_the_run(tesla_run, synthesised):
    """A small one lowers the loss by growing: a huge step goes far beyond all bounds."""
    run = tesla_run(*PLAIN, "lr_student=0.001", "lr_lr=1e6", "iterations=3", "labels=hard")
    with pytest.raises(DdkitError) as error:
        synthesised(run)
    line = str(error.value)
    assert "\n" not in line
    found = (
        r"'learning_rate' of shard 0 has run away to \d\.\d+e\+07 by step 1 \(nothing was changed"
    )
    assert re.search(found, line)
    assert "lower the learning rates (--set lr_images=…, --set lr_lr=…)" in line
    assert not list(run.folder.rglob("shard-00000.safetensors"))


def test_what_was_good_before_a_learning_rate_ran_away_is_kept(tesla_run, synthesised):
    """β grows by 0.0004 in the first step, and by its momentum of half as much in the second."""
    bounds = ("lr_student=0.001", "lr_student_max=0.002", "lr_lr=1e-5")
    run = tesla_run(*PLAIN, *bounds, "iterations=9", "labels=hard")
    with pytest.raises(DdkitError, match="'learning_rate' of shard 0 has run away") as error:
        synthesised(run, checkpoint_seconds=0)
    (checkpoint,) = run.folder.rglob("*.checkpoint.safetensors")
    file = TensorFile(checkpoint)
    assert file.metadata["step"] == 1
    assert "by step 2 (the state of step 1 is kept)" in str(error.value)
    assert 0.001 < float(file["leaf.learning_rate.value"]) < 0.002


def test_same_seed_same_bytes(tesla_run, synthesised):
    settings = ("labels=learned", "batch_syn=4")
    first, again, other = (
        synthesised(tesla_run(*settings, seed=seed, pool_seed=0), folder).path.read_bytes()
        for seed, folder in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "settings",
    [
        ("labels=learned", "batch_syn=3", "student_steps=2"),  # rows, with momentum of their own
        ("labels=target", "snapshot_every=2"),
    ],
)
@pytest.mark.parametrize("softly", [True, False])
def test_a_killed_synthesis_ends_in_the_same_bytes(
    tesla_run, synthesised, monkeypatch, request_stop, settings, softly
):
    run = tesla_run(*settings, "iterations=6", "lr_lr=1e-3")
    whole = synthesised(run, "whole", checkpoint_seconds=0)
    plain = TeslaObjective.loss

    def interrupted(self, shard, leaves, step):
        if step == 3:
            if not softly:
                raise RuntimeError("killed")
            request_stop()
        return plain(self, shard, leaves, step)

    with monkeypatch.context() as patch:
        patch.setattr(TeslaObjective, "loss", interrupted)
        with pytest.raises(Stopped if softly else RuntimeError):
            synthesised(run, "killed", checkpoint_seconds=0)
    interrupt._requested.clear()
    assert list(run.folder.with_name("killed").rglob("*.checkpoint.safetensors"))
    steps = []

    def watched(self, shard, leaves, step):
        steps.append(step)
        return plain(self, shard, leaves, step)

    monkeypatch.setattr(TeslaObjective, "loss", watched)
    resumed = synthesised(run, "killed", checkpoint_seconds=0)
    assert steps == ([4, 5] if softly else [3, 4, 5])
    assert without_cost(resumed) == without_cost(whole)


def without_cost(file: TensorFile) -> dict[str, bytes]:
    """Return all that a shard's file holds but its peak of memory, which is measured."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in file.read().items()}


def test_a_killed_run_ends_in_the_same_artifact(tesla_run, monkeypatch, request_stop):
    run = tesla_run("iterations=4")
    whole = pipeline.distill(run.config, run.folder.parent / "whole").read_bytes()
    plain = TeslaObjective.loss
    with monkeypatch.context() as patch:

        def interrupted(self, shard, leaves, step):
            if step == 2:
                request_stop()
            return plain(self, shard, leaves, step)

        patch.setattr(TeslaObjective, "loss", interrupted)
        with pytest.raises(Stopped):
            pipeline.distill(run.config, run.folder.parent / "killed")
    interrupt._requested.clear()
    resumed = pipeline.distill(run.config, run.folder.parent / "killed")
    assert resumed.read_bytes() == whole


def test_images_may_start_as_noise(tesla_run, synthesised):
    noise = synthesised(tesla_run(init="noise"), "noise")
    real = synthesised(tesla_run(), "real")
    assert torch.isfinite(noise["losses"]).all()
    assert noise["initial"].min() < -0.1  # in no real image
    assert not torch.equal(noise["initial"], real["initial"])
    assert (noise["images"] != noise["initial"]).any()


@pytest.mark.parametrize("space", ["zca", "standard"])
def test_pixels_are_not_clipped(tesla_run, space):
    run = tesla_run("lr_images=2000", data={"space": space})
    distilled = load(pipeline.distill(run.config, run.folder))
    images = distilled.synthetic().images
    assert distilled.space.kind == space
    assert images.dtype == torch.float32  # such images are stored as they are
    assert images.max() > 1.1
    assert images.min() < -0.1
    made = shard_of(run)["images"]
    assert torch.equal(images, made)


def test_no_iterations_leave_the_images_as_they_start(tesla_run, synthesised):
    run = tesla_run("iterations=0")
    file = synthesised(run)
    torch.testing.assert_close(file["images"], initial_real(run), rtol=0, atol=1e-5)
    assert float(file["learning_rate"]) == pytest.approx(0.05)
