"""The labels of the artifact: averaged logits of experts, on the images as they are."""

import pytest
import torch
from ddkit_tesla.experts import trajectories
from ddkit_tesla.relabelling import label

from ddkit import DdkitError, HardLabels, Pool, Run, SoftLabels, Synthetic
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.initial import initial_real

pytestmark = pytest.mark.usefixtures("shared_pools")
BATCH_NORM = "convnet:depth=1:width=8:norm=batch"
TEDDY = tuple(
    f"relabel.{setting}"
    for setting in (
        "unit=step",
        "first=1",
        "last=3",
        "every=2",
        "train_batch=64",
        "recalibrate=0",
        "label_epochs=2",
    )
)


def made(run: Run) -> tuple[Pool, Synthetic]:
    """Return the run's pool, and images that no expert has seen."""
    real = initial_real(run)
    images = (real + 0.1 * torch.rand(real.shape, generator=torch.Generator().manual_seed(0))) / 1.1
    return stage_pools.open_pool(run, "relabel"), Synthetic(images, torch.arange(run.total))


def by_hand(run: Run, pool: Pool, pixels: torch.Tensor, experts: int, epoch: int) -> torch.Tensor:
    """Return the mean over the first experts of their logits at an epoch."""
    total = torch.zeros(len(pixels), 10)
    for expert in trajectories(pool)[:experts]:
        network = run.network(torch.Generator()).eval()
        network.load_state_dict(pool.state(expert[epoch]))
        total += network((pixels - run.space.mean) / run.space.std).detach()
    return total / experts


@pytest.mark.parametrize(
    ("settings", "experts", "epoch"),
    [
        (("labels=target",), 2, 2),  # the largest start, 1, and one epoch on
        (("labels=target", "max_start_epoch=1"), 2, 1),
        (("labels=target", "max_start_epoch=1", "expert_epochs=3"), 2, 3),
        (("labels=last",), 2, 3),
        (("labels=last", "teachers=1"), 1, 3),
        (("labels=target", "teachers=7"), 2, 2),
        (("labels=last", "teacher_epoch=0", "teachers=1"), 1, 0),
        (("labels=target", "teacher_epoch=3"), 2, 3),
        (("labels=learned",), 2, 2),  # images that have learned none
    ],
)
def test_labels_are_the_mean_logits_of_experts(tesla_run, settings, experts, epoch):
    run = tesla_run(*settings, stage="relabel")
    pool, images = made(run)
    labels = label(run, pool, images)
    assert isinstance(labels, SoftLabels)
    assert labels.temperature == 1
    expected = by_hand(run, pool, images.images, experts, epoch)
    torch.testing.assert_close(labels.logits, expected, rtol=1e-4, atol=1e-4)
    for other in {0, 1, 2, 3} - {epoch}:  # the tolerance tells epochs apart
        assert (by_hand(run, pool, images.images, experts, other) - expected).abs().max() > 0.01


def test_experts_with_batch_norms_label_with_their_running_statistics(tesla_run):
    run = tesla_run(stage="relabel", network=BATCH_NORM)
    pool, images = made(run)
    labels = label(run, pool, images)
    expected = by_hand(run, pool, images.images, 2, 2)
    torch.testing.assert_close(labels.logits, expected, rtol=1e-4, atol=1e-4)


def test_labels_are_of_the_images_as_they_are_stored(tesla_run):
    run = tesla_run(stage="relabel")
    pool, images = made(run)
    stored = Synthetic(images.images.mul(255).round().to(torch.uint8), images.classes)
    expected = by_hand(run, pool, stored.images / 255, 2, 2)
    labels = label(run, pool, stored)
    torch.testing.assert_close(labels.logits, expected, rtol=1e-5, atol=1e-5)


def test_more_images_than_one_forward_pass_takes(tesla_run):
    run = tesla_run(stage="relabel")
    pool, images = made(run)
    many = Synthetic(images.images.repeat(60, 1, 1, 1), images.classes.repeat(60))
    one = label(run, pool, images).logits
    torch.testing.assert_close(label(run, pool, many).logits, one.repeat(60, 1))


def test_learned_labels_are_the_learned_ones(tesla_run):
    run = tesla_run("labels=learned", stage="relabel")
    pool, images = made(run)
    logits = torch.randn(10, 10)
    learned = Synthetic(images.images, images.classes, 0.1, logits)
    labels = label(run, pool, learned)
    assert isinstance(labels, SoftLabels)
    assert torch.equal(labels.logits, logits)


def test_learned_logits_do_not_count_where_experts_label(tesla_run):
    run = tesla_run("labels=target", stage="relabel")
    pool, images = made(run)
    learned = Synthetic(images.images, images.classes, 0.1, torch.randn(10, 10))
    assert torch.equal(label(run, pool, learned).logits, label(run, pool, images).logits)


def test_hard_labels_are_the_classes(tesla_run):
    run = tesla_run("labels=hard", stage="relabel")
    pool, images = made(run)
    labels = label(run, pool, images)
    assert isinstance(labels, HardLabels)
    assert torch.equal(labels.classes, images.classes)


def test_an_epoch_beyond_the_experts_is_refused(tesla_run):
    pool, images = made(tesla_run(stage="relabel"))
    run = tesla_run("teacher_epoch=4", stage="relabel")
    with pytest.raises(DdkitError) as error:
        label(run, pool, images)
    assert str(error.value) == "teacher_epoch=4 is beyond the experts' last epoch, 3"


def test_a_label_epoch_beyond_the_experts_is_refused_before_images_are_made(tesla_run):
    run = tesla_run("teacher_epoch=4")
    with pytest.raises(DdkitError, match="teacher_epoch=4 is beyond the experts' last epoch, 3"):
        pipeline.distill(run.config, run.folder)
    assert not list(run.folder.rglob("shard-*"))


def test_the_artifact_of_a_run_has_the_labels_of_its_final_images(tesla_run):
    run = tesla_run("labels=target")
    distilled = load(pipeline.distill(run.config, run.folder))
    pool = stage_pools.open_pool(run, "relabel")
    rows = torch.arange(10)
    expected = by_hand(run, pool, distilled.pixels(rows), 2, 2)
    torch.testing.assert_close(distilled.labels.targets(rows, 0), expected, rtol=1e-4, atol=1e-4)


def test_teddy_labels_the_images_of_tesla(tesla_run):
    run = tesla_run(*TEDDY, sources={"relabel": "teddy"}, network=BATCH_NORM)
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "epoch"
    assert distilled.labels.logits.shape == (2, 10, 10)
    learned = TensorFile(run.folder / "shards" / "shard-00000.safetensors")["learning_rate"]
    assert distilled.learning_rate == float(learned)


def test_tesla_labels_random_images(tesla_run):
    settings = ("experts=2", "train_epochs=2", "max_start_epoch=1", "expert_epochs=2", "teachers=1")
    run = tesla_run(
        "relabel.labels=target",
        *(f"relabel.{setting}" for setting in settings),
        method="random",
        sources={"relabel": "tesla"},
    )
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "soft"
    assert distilled.learning_rate is None
    pool = stage_pools.open_pool(run, "relabel")
    assert len(trajectories(pool)) == 2
    rows = torch.arange(10)
    torch.testing.assert_close(distilled.pixels(rows), initial_real(run), rtol=0, atol=1e-6)
    expected = by_hand(run, pool, distilled.pixels(rows), 1, 2)
    torch.testing.assert_close(distilled.labels.targets(rows, 0), expected, rtol=1e-4, atol=1e-4)
