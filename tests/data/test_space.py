import numpy as np
import pytest
import torch

from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError


def split_of(count: int = 200, channels: int = 3) -> Split:
    g = torch.Generator().manual_seed(0)
    shape = (count, channels, 6, 5)
    images = (torch.rand(shape, generator=g) ** 2 * 255).to(torch.uint8)
    return Split(images, torch.zeros(count, dtype=torch.int64), ("a",))


def test_standard_space_has_mean_and_std_of_the_pixels():
    split = split_of(5000)  # two chunks
    pixels = split.images.numpy().astype(np.float64) / 255
    space = InputSpace.fit(split, "standard")
    np.testing.assert_allclose(space.mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(space.std, pixels.std((0, 2, 3)), rtol=1e-6)
    encoded = space.encode(split.images.float() / 255)
    torch.testing.assert_close(encoded.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)


def test_standard_space_does_not_depend_on_the_order_of_images():
    split = split_of()
    turned = split.subset(torch.arange(len(split)).flip(0))
    spaces = [InputSpace.fit(part, "standard").fingerprint() for part in (split, turned)]
    assert spaces[0] == spaces[1]


def test_constant_channel_becomes_zero_rather_than_nan():
    split = Split(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8), torch.zeros(4).long(), ("a",))
    encoded = InputSpace.fit(split, "standard").encode(torch.full((1, 1, 2, 2), 0.2))
    torch.testing.assert_close(encoded, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("kind", ["standard", "zca", "zca-relative", "unit"])
class TestEveryKind:
    def test_decode_undoes_encode(self, kind):
        split = split_of()
        space, images = InputSpace.fit(split, kind), split.images.float() / 255
        torch.testing.assert_close(space.decode(space.encode(images)), images, rtol=0, atol=1e-5)

    def test_gradients_pass_through_both_ways(self, kind):
        space = InputSpace.fit(split_of(), kind)
        images = torch.rand(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(space.encode, (images,))
        assert torch.autograd.gradcheck(space.decode, (images,))

    def test_bytes_encode_like_their_floats(self, kind):
        split = split_of()
        space = InputSpace.fit(split, kind)
        expected = space.encode(split.images.float() / 255)
        torch.testing.assert_close(space.encode_bytes(split.images), expected, rtol=0, atol=2e-6)

    def test_stored_and_read_again_it_is_the_same(self, kind):
        space = InputSpace.fit(split_of(), kind)
        again = InputSpace.from_tensors(space.tensors() | {"images": torch.zeros(1)})
        assert again.kind == space.kind == kind
        assert again.fingerprint() == space.fingerprint()


def test_fingerprints_tell_spaces_apart():
    split = split_of()
    kinds = ("standard", "zca", "unit")
    assert len({InputSpace.fit(split, kind).fingerprint() for kind in kinds}) == 3


def test_valid_range_is_where_black_and_white_go():
    space = InputSpace(torch.tensor([0.5, 0.2]), torch.tensor([0.25, 0.1]))
    low, high = space.valid_range()
    torch.testing.assert_close(low, torch.tensor([-2.0, -2.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(high, torch.tensor([2.0, 8.0]).view(1, 2, 1, 1))


def test_zca_has_no_valid_range():
    with pytest.raises(DdkitError, match=r"no range per channel.*clip decoded pixels to \[0, 1\]"):
        InputSpace.fit(split_of(), "zca").valid_range()


def test_unknown_kind_is_refused_with_the_nearest_name():
    with pytest.raises(DdkitError, match="unknown input space 'standrad': did you mean 'standard'"):
        InputSpace.fit(split_of(), "standrad")


def test_empty_split_is_refused():
    with pytest.raises(DdkitError, match="empty split"):
        InputSpace.fit(split_of(0), "standard")


def test_images_with_other_channels_are_refused():
    with pytest.raises(DdkitError, match="images with 1 channels don't fit an input space of 3"):
        InputSpace.fit(split_of(), "standard").encode(torch.zeros(2, 1, 6, 5))


def test_incomplete_file_is_refused():
    stored = InputSpace.fit(split_of(), "zca").tensors()
    del stored["space.zca.matrix"]
    with pytest.raises(DdkitError, match=r"lacks 'space\.zca\.matrix'"):
        InputSpace.from_tensors(stored)
