"""What a library says of a failure, in words that are the same each time."""

from io import BytesIO

import pytest
from PIL import Image, UnidentifiedImageError

from ddkit.runtime.errors import DdkitError, cause


def test_addresses_of_memory_are_left_out():
    with pytest.raises(UnidentifiedImageError) as caught:
        Image.open(BytesIO(b"no image"))
    assert cause(caught.value) == "UnidentifiedImageError: cannot identify image file"
    error = TypeError(f"got {object()} and {len} and {test_addresses_of_memory_are_left_out}")
    assert cause(error) == (
        "TypeError: got object and <built-in function len> and "
        "function test_addresses_of_memory_are_left_out"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("label"), "KeyError: no entry 'label'"),
        (KeyError(3), "KeyError: no entry 3"),
        (EOFError(), "EOFError: it ends early"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 300), "ValueError: " + "x" * 200 + "…"),
        (DdkitError("x" * 300), "x" * 300),
    ],
)
def test_what_failed_is_said_in_one_line(error, said):
    assert cause(error) == said
