"""What a method works with: initial images, generators, and no test split."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from ddkit.data.split import Split
from ddkit.pipeline.prepare import start_of
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.initial import initial_inputs, initial_real
from ddkit.synthesis.shards import Shard

ROOT = Path(__file__).parents[1]


def test_a_class_with_fewer_images_than_are_asked_for_is_refused_by_name(run, make_split):
    train = make_split(each=4)
    keep = torch.ones(len(train), dtype=torch.bool)
    keep[(train.labels == 1).nonzero()[:2]] = False
    with pytest.raises(DdkitError) as caught:
        initial_real(run(train=train.subset(keep.nonzero()[:, 0]), ipc=3))
    assert str(caught.value) == (
        "class 'b' has 2 training images, fewer than --ipc 3: lower --ipc, leave the class out "
        "(--classes) or use --init noise"
    )


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [2, 3, 1], [5, 1]])
def test_initial_real_images_do_not_depend_on_the_cut_into_shards(run, sizes):
    work = run(ipc=2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    whole = initial_inputs(work, Shard.of(work, 0, torch.arange(6)))
    for index, slots in enumerate(order.split(sizes)):
        assert torch.equal(initial_inputs(work, Shard.of(work, index, slots)), whole[slots])


def test_initial_real_images_are_of_their_class_and_different(run, make_split):
    work = run(ipc=8, train=(train := make_split(each=8)))
    images = initial_real(work)
    assert images.dtype == torch.float32
    for slot, image in enumerate(images):
        same = (train.images.float() / 255 == image).flatten(1).all(1).nonzero()[:, 0]
        assert train.labels[same].tolist() == [slot // 8]
    assert len(images.unique(dim=0)) == 24


def test_fewer_images_per_class_are_the_first_of_more(run):
    few, many = initial_real(run(ipc=2)), initial_real(run(ipc=5))
    assert torch.equal(few.view(3, 2, -1), many.view(3, 5, -1)[:, :2])


def test_initial_images_follow_the_seed(run):
    assert torch.equal(initial_real(run(seed=1)), initial_real(run(seed=1)))
    assert not torch.equal(initial_real(run(seed=1)), initial_real(run(seed=2)))


@pytest.mark.parametrize("space", ["standard", "unit"])
def test_noise_is_standard_normal_in_the_space_of_the_network(run, space):
    work = run(ipc=100, init="noise", space=space)
    noise = initial_inputs(work, Shard.of(work, 0, torch.arange(300)))
    assert noise.shape == (300, 1, 8, 8)
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_a_run_may_start_from_an_artifact(run, artifact, tmp_path):
    path = artifact(seed=7)
    work = run(init=str(path))
    work = replace(work, start=start_of(work.config, work.train))
    inputs = initial_inputs(work, Shard.of(work, 0, torch.tensor([4, 1])))
    expected = initial_real(run(seed=7))[[4, 1]]
    torch.testing.assert_close(work.space.decode(inputs), expected)


def test_an_artifact_of_another_size_is_refused(run, artifact):
    path = artifact()
    work = run(init=str(path), ipc=3)
    with pytest.raises(DdkitError) as caught:
        start_of(work.config, work.train)
    assert str(caught.value) == (
        f"--init {path} holds 6 images of (1, 8, 8), but this run distils 9 of (1, 8, 8): use "
        "the same classes, ipc and size"
    )


def test_generators_follow_from_seed_purpose_and_indices(run):
    def draw(seed: int, purpose: str, *indices: int) -> float:
        return torch.rand((), generator=run(seed=seed).generator(purpose, *indices)).item()

    drawn = [draw(0, "a"), draw(1, "a"), draw(0, "b"), draw(0, "a", 1), draw(0, "a", 1, 1)]
    assert len(set(drawn)) == 5
    assert draw(0, "a", 1) == drawn[3]


def test_networks_follow_their_generator_and_fit_the_data(run):
    work = run(network="convnet:depth=1:width=4")
    one, two = (work.network(work.generator("net")) for _ in range(2))
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(one(images), two(images))
    assert one(images).shape == (2, 3)
    other = work.network(work.generator("net"), "convnet:depth=2:width=4")
    assert len(other.features) == 2


def test_a_run_has_training_data_and_holdout_but_no_test_split(run, make_split):
    assert {field.name for field in fields(Run) if "test" in field.name} == set()
    work = run(holdout=make_split(each=2, seed=4))
    held = [name for name in dir(work) if isinstance(getattr(work, name, None), Split)]
    assert held == ["holdout", "train"]
