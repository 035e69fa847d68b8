"""Image files of several sizes, where no size was asked for."""

import pytest
from PIL import Image

from ddkit.data.options import DataOptions
from ddkit.data.sources.load import common_side, look, with_one_size
from ddkit.runtime.errors import DdkitError


@pytest.fixture
def laid_out(tmp_path):
    """Return a function that makes a folder of images of these sizes, (width, height)."""

    def make(*sizes):
        for name in ("a", "b"):
            (tmp_path / "train" / name).mkdir(parents=True)
            for number, size in enumerate(sizes):
                Image.new("L", size).save(tmp_path / "train" / name / f"{number}.png")
        return DataOptions(name=str(tmp_path))

    return make


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(40, 30)], None),
        ([(40, 30), (30, 40)], 32),  # all are smaller: the least side there is
        ([(200, 63), (70, 65), (20, 20)], 32),
        ([(200, 64), (70, 65), (20, 20)], 64),
        ([(900, 800), (700, 600)], 64),
    ],
)
def test_the_side_is_one_that_half_of_the_images_have(laid_out, sizes, side):
    options, said = laid_out(*sizes), []
    assert common_side(options) == side
    assert with_one_size(options, said.append).resize == side
    assert [f"scaled to {side}x{side}" in note for note in said] == [True] * (side is not None)


def test_a_size_that_was_asked_for_holds(laid_out):
    options = laid_out((40, 30), (20, 20)).model_copy(update={"resize": 16})
    assert common_side(options) is None
    assert look(options)[2] == (1, 16, 16)


def test_without_a_size_only_equal_images_are_looked_at(laid_out):
    with pytest.raises(DdkitError, match=r"differ in size.*--resize"):
        look(laid_out((40, 30), (20, 20)))
