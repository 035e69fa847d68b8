"""What a method works with: initial images, generators, and no test split."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from ddkit.data.split import Split
from ddkit.pipeline.prepare import baseline_config, start_of
from ddkit.run import Run
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Silent
from ddkit.synthesis.initial import check_initial, initial_inputs, initial_real
from ddkit.synthesis.shards import Shard

ROOT = Path(__file__).parents[1]


@pytest.fixture
def short(run, make_split):
    """Return runs with 4, 2 and 4 training images in the classes a, b and c, and ipc 5."""
    train = make_split(each=4)
    keep = torch.ones(len(train), dtype=torch.bool)
    keep[(train.labels == 1).nonzero()[:2]] = False
    few = train.subset(keep.nonzero()[:, 0])
    return lambda how: run(train=few, ipc=5, short_classes=how)


def test_a_class_with_fewer_images_than_are_asked_for_is_refused_by_name(short):
    with pytest.raises(DdkitError) as caught:
        check_initial(short("refuse"))
    assert str(caught.value) == (
        "class 'b' has 2 training images, fewer than --ipc 5: lower --ipc, leave the class out "
        "(--classes), or use --short-classes repeat or noise"
    )


def test_images_of_a_short_class_repeat_and_no_two_are_equal(short):
    work = short("repeat")
    own = [real_of(work, label) for label in range(3)]
    images = initial_real(work).view(3, 5, -1)
    for label, real in enumerate(own):
        assert torch.equal(images[label, : len(real)], real.flatten(1))  # each once, as it is
    assert len(images.view(15, -1).unique(dim=0)) == 15
    assert images.min() >= 0
    assert images.max() <= 1
    low, high = own[1].amin((1, 2, 3)), own[1].amax((1, 2, 3))
    for number in range(2, 5):  # a repetition interpolates pixels of its image
        assert images[1, number].min() >= low[number % 2] - 1e-6
        assert images[1, number].max() <= high[number % 2] + 1e-6
    parts = [initial_real(work, slots) for slots in torch.randperm(15).split(4)]
    assert sum(len(part) for part in parts) == 15
    order = torch.tensor([14, 6, 9, 8])
    assert torch.equal(initial_real(work, order).flatten(1), images.view(15, -1)[order])


def test_a_short_class_is_filled_with_noise(short):
    work = short("noise")
    inputs = initial_inputs(work, Shard.of(work, 0, torch.arange(15)))
    real = work.space.to("cpu").encode(initial_real(work))
    same = (inputs == real).flatten(1).all(1).view(3, 5)
    assert same.sum(1).tolist() == [4, 2, 4]
    noise = inputs.view(3, 5, -1)[1, 2:]
    assert noise.std() > 0.5
    assert abs(noise.mean()) < 0.5
    backwards = initial_inputs(work, Shard.of(work, 1, torch.arange(15).flip(0)))
    assert torch.equal(backwards.flip(0), inputs)


def test_short_classes_are_said_once(short):
    said = []
    progress = Silent()
    progress.note = said.append
    check_initial(replace(short("repeat"), progress=progress))
    assert said == [
        "3 of 3 classes have fewer than 5 images (class 'b' has 2 training images): "
        "5 of 15 are repeated, augmented"
    ]


def test_random_images_beside_noise_repeat(short):
    assert baseline_config(short("noise").config).short_classes == "repeat"
    assert baseline_config(short("refuse").config).short_classes == "refuse"


def real_of(work, label):
    """Return the images of a class in the order in which they begin, by the definition."""
    members = (work.train.labels == label).nonzero().flatten()
    order = torch.randperm(len(members), generator=work.generator("initial", label))
    return work.train.images[members[order]].float() / 255


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


def test_classes_of_an_artifact_in_another_order_are_matched_by_name(
    run, artifact, make_split, heard
):
    first = run(seed=7)
    path = artifact(train=replace(make_split(), classes=("0", "1", "10")), seed=7)
    train = replace(make_split(), classes=("10", "0", "1"))
    work = run(init=str(path), train=train)
    start = start_of(work.config, train, heard)
    assert torch.equal(start(torch.tensor([0, 3])), initial_real(first)[[4, 1]])
    assert heard.notes == [
        f"--init {path}: classes are matched by name, because class 0 is '10' and '0' there"
    ]


def test_an_artifact_of_other_classes_is_refused_unless_it_has_mere_numbers(
    run, artifact, make_split
):
    train = replace(make_split(), classes=("x", "y", "z"))
    work = run(init=str(artifact("a.safetensors")), train=train)
    with pytest.raises(
        DdkitError, match=r"holds other classes .*: a, b, c instead of x, y, z; use"
    ):
        start_of(work.config, train)
    numbers = replace(make_split(), classes=("0", "1", "2"))
    work = run(init=str(artifact("b.safetensors", train=numbers)), train=train)
    assert start_of(work.config, train)(torch.arange(6)).shape == (6, 1, 8, 8)


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
