from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ddkit.data.pixels.decoding import decode, fit
from ddkit.data.pixels.picture import Reading
from ddkit.data.sources.selection import resized
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError


def encoded(image, kind="PNG"):
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def png(value, size=(4, 4), mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    return encoded(Image.new(mode, size, value if bands == 1 else (value,) * bands))


def gradient(width, height):
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([across * 3, down * 5, across + down], 2).astype(np.uint8))


def decoded(*contents, side=None):
    return decode(
        ((content, f"row {i}") for i, content in enumerate(contents)), len(contents), Reading(side)
    )


def test_pixels_and_order_are_those_of_the_files():
    image = gradient(5, 3)
    both = decoded(encoded(image), png(9, (5, 3)))
    assert both.dtype == torch.uint8
    assert both.is_contiguous()
    assert torch.equal(both[0], torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert both[1].unique().tolist() == [9]


def test_all_grey_images_have_one_channel():
    black_and_white = encoded(Image.new("1", (4, 4), 1))
    assert decoded(png(7, mode="L"), black_and_white)[:, :, 0, 0].tolist() == [[7], [255]]


@pytest.mark.parametrize("grey_first", [True, False])
def test_grey_among_coloured_images_becomes_coloured(grey_first):
    contents = [png(7, mode="L"), png(9, mode="L"), encoded(Image.new("RGB", (4, 4), (1, 2, 3)))]
    values = [[7, 7, 7], [9, 9, 9], [1, 2, 3]]
    order = slice(None, None, 1 if grey_first else -1)
    assert decoded(*contents[order])[:, :, 0, 0].tolist() == values[order]


def test_sixteen_bit_grey_keeps_its_upper_eight_bits():
    deep = Image.fromarray(np.full((4, 4), 0x12FF, dtype=np.uint16))
    assert decoded(encoded(deep)).unique().tolist() == [0x12]


def test_palette_and_alpha_become_three_channels():
    palette = Image.new("RGB", (4, 4), (255, 0, 0)).convert("P")
    alpha = Image.new("RGBA", (4, 4), (0, 255, 0, 255))
    assert decoded(encoded(palette), encoded(alpha))[:, :, 0, 0].tolist() == [
        [255, 0, 0],
        [0, 255, 0],
    ]


def test_formats_may_alternate():
    image = Image.new("RGB", (8, 8), (40, 40, 40))
    kinds = ("PNG", "BMP", "PNG", "WEBP", "JPEG")
    means = decoded(*(encoded(image, kind) for kind in kinds)).float().mean((1, 2, 3))
    assert torch.allclose(means, torch.tensor(40.0), atol=2)


def test_large_images_keep_their_order_across_threads():
    contents = [png(value, (160, 130)) for value in range(150)]
    assert decoded(*contents)[:, 0, 0, 0].tolist() == list(range(150))


@pytest.mark.parametrize("size", [(30, 17), (17, 30), (9, 9), (5, 40), (12, 12)])
def test_images_are_fitted_as_torchvision_resizes_and_crops(size):
    image = gradient(*size)
    reference = v2.Compose([v2.Resize(12), v2.CenterCrop(12)])(image)
    assert np.array_equal(np.array(fit(image, 12)), np.array(reference))


def test_a_tensor_is_resized_exactly_as_image_files_are():
    image = gradient(31, 17)
    whole = Split(decoded(encoded(image)), torch.tensor([0]), ("a",))
    assert torch.equal(resized(whole, 8).images, decoded(encoded(image), side=8))


def test_mixed_sizes_name_both_and_the_remedy():
    message = r"4x4 at first, 6x5 in row 2; choose one size with --resize"
    with pytest.raises(DdkitError, match=message):
        decoded(png(0), png(0), png(0, (6, 5)))


def test_mixed_sizes_are_fine_when_resized():
    assert decoded(png(0), png(0, (6, 5)), side=4).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("size", [(20, 20), (200, 200)], ids=["small", "in a thread"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named(kind, size):
    content = encoded(gradient(*size), kind)
    with pytest.raises(DdkitError, match=r"^row 1 is not a readable image"):
        decoded(content, content[: len(content) * 2 // 3])


def test_bytes_that_are_no_image_are_named_in_one_line():
    with pytest.raises(DdkitError, match=r"^row 0 is not a readable image") as caught:
        decoded(b"hello")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "gone.png"
    with pytest.raises(DdkitError, match=r"gone.png is not a readable image \(FileNotFoundError"):
        decode([(path, str(path))], 1)


def test_nothing_to_decode_is_an_error():
    with pytest.raises(DdkitError, match="no images"):
        decoded()
