"""The labels of the artifact: logits of teachers, on the images as they are; other labellers."""

import pytest
import torch
from ddkit_apm.relabelling import label

from ddkit import DdkitError, HardLabels, Pool, Run, SoftLabels, Synthetic
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.initial import initial_real

BATCH_NORM = "convnet:depth=1:width=8:norm=batch"
TEDDY = (
    "unit=step",
    "first=1",
    "last=3",
    "every=2",
    "train_batch=64",
    "recalibrate=0",
    "label_epochs=2",
    "iterations=2",
)
APM = ("teachers=2", "train_epochs=1", "train_batch=256", "together=1")
TESLA = (
    "experts=1",
    "train_epochs=2",
    "train_batch=256",
    "max_start_epoch=1",
    "expert_epochs=1",
    "student_steps=2",
    "iterations=1",
    "together=1",
)


def of_stage(stage: str, settings: tuple[str, ...]) -> list[str]:
    return [f"{stage}.{setting}" for setting in settings]


def made(run: Run) -> tuple[Pool, Synthetic]:
    """Return the run's pool, and images that no teacher has seen."""
    real = initial_real(run)
    images = (real + 0.1 * torch.rand(real.shape, generator=torch.Generator().manual_seed(0))) / 1.1
    return stage_pools.open_pool(run, "relabel"), Synthetic(images, torch.arange(run.total))


def by_hand(run: Run, pool: Pool, pixels: torch.Tensor, *teachers: int) -> torch.Tensor:
    """Return the mean of these teachers' logits."""
    total = torch.zeros(len(pixels), 10)
    for teacher in teachers:
        network = run.network(torch.Generator()).eval()
        network.load_state_dict(pool.state(teacher))
        total += network((pixels - run.space.mean) / run.space.std).detach()
    return total / len(teachers)


@pytest.mark.parametrize(
    ("settings", "teachers"),
    [
        ((), (0, 1, 2)),
        (("label_teachers=3",), (0, 1, 2)),
        (("label_teachers=2",), (0, 1)),
        (("label_teachers=1",), (0,)),
        (("label_teachers=9",), (0, 1, 2)),
    ],
)
@pytest.mark.parametrize("network", ["convnet:depth=2:width=8", BATCH_NORM])
def test_labels_are_the_mean_logits_of_teachers(apm_run, settings, teachers, network):
    run = apm_run("teachers=3", "train_epochs=1", *settings, stage="relabel", network=network)
    pool, images = made(run)
    labels = label(run, pool, images)
    assert isinstance(labels, SoftLabels)
    assert labels.temperature == 1
    assert labels.logits.dtype == torch.float32
    expected = by_hand(run, pool, images.images, *teachers)
    torch.testing.assert_close(labels.logits, expected, rtol=1e-4, atol=1e-4)
    for other in {(0,), (0, 1), (0, 1, 2)} - {teachers}:  # the tolerance tells them apart
        wrong = by_hand(run, pool, images.images, *other)
        assert (labels.logits - wrong).abs().max() > 0.01


def test_one_teacher_labels_all_images_and_the_seed_draws_it(apm_run):
    drawn = set()
    for seed in range(8):
        settings = ("teachers=2", "train_epochs=1", "labels=teacher")
        run = apm_run(*settings, stage="relabel", seed=seed, pool_seed=0)
        pool, images = made(run)
        logits = label(run, pool, images).logits
        gaps = [(logits - by_hand(run, pool, images.images, t)).abs().max() for t in range(2)]
        assert min(gaps) < 1e-4
        assert max(gaps) > 0.01
        assert torch.equal(label(run, pool, images).logits, logits)
        drawn.add(gaps.index(min(gaps)))
    assert drawn == {0, 1}


def test_hard_labels_are_the_classes(apm_run):
    run = apm_run("labels=hard", stage="relabel")
    pool, images = made(run)
    labels = label(run, pool, images)
    assert isinstance(labels, HardLabels)
    assert torch.equal(labels.classes, images.classes)


def test_labels_are_of_the_images_as_they_are_stored(apm_run):
    run = apm_run(stage="relabel")
    pool, images = made(run)
    stored = Synthetic(images.images.mul(255).round().to(torch.uint8), images.classes)
    expected = by_hand(run, pool, stored.images / 255, 0, 1)
    labels = label(run, pool, stored)
    torch.testing.assert_close(labels.logits, expected, rtol=1e-5, atol=1e-5)


def test_more_images_than_one_forward_pass_takes(apm_run):
    run = apm_run(stage="relabel")
    pool, images = made(run)
    many = Synthetic(images.images.repeat(60, 1, 1, 1), images.classes.repeat(60))
    one = label(run, pool, images).logits
    torch.testing.assert_close(label(run, pool, many).logits, one.repeat(60, 1))


def test_the_artifact_of_a_run_has_the_labels_of_its_final_images(apm_run):
    run = apm_run()
    distilled = load(pipeline.distill(run.config, run.folder))
    pool = stage_pools.open_pool(run, "relabel")
    rows = torch.arange(10)
    expected = by_hand(run, pool, distilled.pixels(rows), 0, 1)
    assert distilled.labels.kind == "soft"
    torch.testing.assert_close(distilled.labels.targets(rows, 0), expected, rtol=1e-4, atol=1e-4)


def test_teddy_labels_the_images_of_apm(apm_run):
    settings = of_stage("relabel", TEDDY)
    run = apm_run("rounds=1", *settings, sources={"relabel": "teddy"}, network=BATCH_NORM)
    distilled = load(pipeline.distill(run.config, run.folder))
    assert distilled.labels.kind == "epoch"
    assert distilled.labels.logits.shape == (2, 10, 10)
    file = TensorFile(run.folder / "shards" / "shard-00000.safetensors")
    assert (file["images"] != file["initial"]).flatten(1).any(1).all()


def test_teddy_works_with_the_teachers_of_apm(apm_run):
    settings = (*TEDDY, *of_stage("pool", APM))
    run = apm_run(*settings, method="teddy", sources={"pool": "apm"}, network=BATCH_NORM)
    distilled = load(pipeline.distill(run.config, run.folder))
    pool = stage_pools.open_pool(run, "synthesis")
    assert pool.description["plugin"] == "apm"
    assert [member.role for member in pool.members] == ["teacher"] * 2
    assert distilled.labels.kind == "epoch"
    file = TensorFile(run.folder / "shards" / "shard-00000.safetensors")
    assert torch.isfinite(file["losses"]).all()
    assert (file["images"] != file["initial"]).flatten(1).any(1).all()


def test_apm_labels_random_images(apm_run):
    settings = of_stage("relabel", APM)
    run = apm_run(*settings, method="random", sources={"relabel": "apm"})
    distilled = load(pipeline.distill(run.config, run.folder))
    pool = stage_pools.open_pool(run, "relabel")
    rows = torch.arange(10)
    torch.testing.assert_close(distilled.pixels(rows), initial_real(run), rtol=0, atol=1e-6)
    expected = by_hand(run, pool, distilled.pixels(rows), 0, 1)
    torch.testing.assert_close(distilled.labels.targets(rows, 0), expected, rtol=1e-4, atol=1e-4)


COMBINATIONS = {
    "teddy without batch norms": (
        "teddy",
        "apm",
        (*TEDDY, *of_stage("pool", APM)),
        "Teddy matches the statistics of batch norms, but this network has none: choose one "
        "that does, such as --network convnet:norm=batch or --network resnet18",
    ),
    "tesla": (
        "tesla",
        "apm",
        (*TESLA, *of_stage("pool", APM)),
        "the synthesis of 'tesla' needs members of the role expert, but the pool of 'apm' has "
        "teacher: name another --pool-from, or leave it out",
    ),
    "apm": (
        "apm",
        "tesla",
        ("rounds=1", *of_stage("pool", TESLA)),
        "the synthesis of 'apm' needs members of the role teacher, but the pool of 'tesla' has "
        "expert: name another --pool-from, or leave it out",
    ),
}


def refusal(apm_run, name: str) -> str:
    method, pool, settings, _ = COMBINATIONS[name]

    def begin() -> None:
        run = apm_run(*settings, method=method, sources={"pool": pool})
        pipeline.distill(run.config, run.folder)

    with pytest.raises(DdkitError) as error:
        begin()
    return str(error.value)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_pool_that_does_not_fit_is_refused_in_one_line_before_it_is_trained(
    apm_run, own_cache, tmp_path, name
):
    line = refusal(apm_run, name)
    assert "\n" not in line
    assert line.startswith(COMBINATIONS[name][-1])
    assert not list(own_cache.rglob("*.safetensors"))
    assert not (tmp_path / "run").exists()


def test_a_labeller_without_teachers_is_refused_before_images_are_made(apm_run):
    settings = (*of_stage("relabel", APM), *of_stage("pool", TESLA))
    sources = {"pool": "tesla", "relabel": "apm"}
    with pytest.raises(DdkitError, match="the relabel of 'apm' needs members of the role teacher"):
        apm_run(*TESLA, *settings, method="tesla", sources=sources)
