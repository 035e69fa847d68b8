from dataclasses import replace
from typing import get_args

import pytest
import torch

from ddkit.data.loading.resident import Augmentation, Resident
from ddkit.data.pixels.base import Pixels
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def split_of(count: int = 50) -> Split:
    """Images without black, each labelled by its own number."""
    images = torch.randint(1, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=gen(8))
    return Split(images, torch.arange(count), tuple(map(str, range(count))))


def resident(split: Split, kind: str = "unit") -> Resident:
    return Resident(split, InputSpace.fit(split, kind), "cpu")


class NotInMemory(Pixels):
    """Pixels that are taken one by one from elsewhere."""

    def __init__(self, images: torch.Tensor):
        self.images, self.shape = images, images.shape

    def take(self, indices):
        return torch.stack([self.images[index] for index in indices.tolist()])

    def subset(self, indices):
        return NotInMemory(self.images[indices])

    def feed(self, digest):
        raise NotImplementedError


def epoch(data: Resident, size: int = 16, seed: int = 0, **options) -> tuple:
    inputs, labels = zip(*data.batches(size, gen(seed), **options), strict=True)
    return torch.cat(inputs), torch.cat(labels)


def test_an_epoch_serves_every_image_once_with_its_label():
    split = split_of()
    inputs, labels = epoch(resident(split))
    assert sorted(labels.tolist()) == list(range(50))
    assert labels.tolist() != list(range(50))
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs, split.images[labels].float() / 255)


@pytest.mark.parametrize("kind", ["standard", "zca", "unit"])
def test_inputs_are_the_encoded_pixels(kind):
    split = split_of(80)
    data, rows = resident(split, kind), torch.tensor([7, 0, 7, 49])
    expected = data.space.encode(split.images[rows].float() / 255)
    torch.testing.assert_close(data.inputs(rows), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", ["standard", "zca"])
@pytest.mark.parametrize("streamed", [False, True])
def test_parts_are_served_one_by_one_as_their_inputs(kind, streamed):
    data = resident(split_of(80), kind)
    parts = [torch.tensor([7, 0, 7]), torch.tensor([49]), torch.tensor([3, 79])]
    expected = [data.inputs(part) for part in parts]
    if streamed:
        data.pixels = NotInMemory(data.pixels.images)
    assert data.streams == streamed
    found = list(data.served(parts))
    assert len(found) == 3
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert list(data.served([])) == []


def test_the_indices_of_all_parts_go_to_the_device_in_one_copy(away):
    split = split_of(80)
    data = Resident(split, InputSpace.fit(split, "unit"), away.device)
    assert not data.streams
    away.sent.clear()
    away.waited.clear()
    shapes = [one.shape for one in data.served([torch.arange(5), torch.arange(3), torch.arange(9)])]
    assert shapes == [(5, 3, 16, 16), (3, 3, 16, 16), (9, 3, 16, 16)]
    assert (away.sent, away.waited) == ([(17,)], [])


def test_ordered_serves_the_split_as_it_stands():
    data = resident(split_of())
    batches = list(data.ordered(20))
    assert [len(labels) for _, labels in batches] == [20, 20, 10]
    assert torch.equal(torch.cat([labels for _, labels in batches]), torch.arange(50))
    assert torch.equal(torch.cat([x for x, _ in batches]), data.inputs(torch.arange(50)))


def test_batches_that_are_only_looked_at_are_small_on_a_cpu():
    assert [len(labels) for _, labels in resident(split_of(130)).ordered()] == [64, 64, 2]


def test_drop_last_leaves_out_the_rest():
    data = resident(split_of())
    assert [len(labels) for _, labels in data.batches(20, gen(), drop_last=True)] == [20, 20]
    assert list(data.batches(64, gen(), drop_last=True)) == []


def shifts(image: torch.Tensor, seen: torch.Tensor, padding: int = 2) -> list[tuple[int, int]]:
    """Return every (row, column) at which `seen` is a window of the zero-padded `image`."""
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    places = range(2 * padding + 1)
    return [
        (y, x)
        for y in places
        for x in places
        if torch.allclose(padded[:, y : y + 16, x : x + 16], seen, atol=1e-6)
    ]


def test_crop_and_flip_show_a_shifted_and_perhaps_mirrored_image():
    split = split_of()
    inputs, labels = epoch(resident(split), augmentation="crop-flip")
    plain = mirrored = 0
    for seen, label in zip(inputs, labels, strict=True):
        image = split.images[label].float() / 255
        plain += len(shifts(image, seen))
        mirrored += len(shifts(image.flip(2), seen))
    assert plain + mirrored == 50
    assert 10 < mirrored < 40


def test_borders_of_a_crop_are_black_after_normalisation_too():
    split = split_of()
    data = resident(split, "standard")
    inputs, _ = epoch(data, augmentation="crop")
    black = data.space.valid_range()[0].view(3)
    for channel in range(3):
        torch.testing.assert_close(inputs[:, channel].min(), black[channel])


@pytest.mark.parametrize("augmentation", ["flip", "crop-flip", "rrc-flip"])
def test_a_split_that_forbids_mirroring_is_never_flipped(augmentation):
    ramp = torch.arange(16).mul(10).add(20).to(torch.uint8).expand(60, 3, 16, 16)
    split = replace(split_of(60), images=ramp.contiguous(), mirror=False)
    inputs, _ = epoch(resident(split), augmentation=augmentation)
    assert (inputs[..., 3:13].diff(dim=3) >= -1e-6).all()
    inputs, _ = epoch(resident(replace(split, mirror=True)), augmentation=augmentation)
    assert (inputs[..., 3:13].diff(dim=3) < -1e-6).any()


def test_random_resized_crops_stay_within_the_valid_range():
    data = resident(split_of(), "standard")
    inputs, _ = epoch(data, augmentation="rrc-flip")
    low, high = data.space.valid_range()
    assert (inputs >= low - 1e-5).all()
    assert (inputs <= high + 1e-5).all()


@pytest.mark.parametrize("augmentation", get_args(Augmentation))
def test_equal_generators_give_equal_bytes_on_any_number_of_threads(augmentation):
    data, threads = resident(split_of(200), "standard"), torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs.append(epoch(data, 64, augmentation=augmentation)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    assert not torch.equal(runs[0], epoch(data, 64, seed=1, augmentation=augmentation)[0])


def test_batches_already_served_do_not_change():
    batches = resident(split_of()).batches(10, gen(), augmentation="crop-flip")
    first, _ = next(batches)
    copy = first.clone()
    list(batches)
    assert torch.equal(first, copy)


def test_unknown_augmentation_is_refused_at_once():
    with pytest.raises(DdkitError, match=r"unknown augmentation 'crop_flip'.*'crop-flip'"):
        resident(split_of()).batches(8, gen(), augmentation="crop_flip")


def test_batch_size_below_one_is_refused():
    with pytest.raises(DdkitError, match="batch size must be at least 1, got 0"):
        resident(split_of()).batches(0, gen())
