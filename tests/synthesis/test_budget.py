"""Sizes as people write them, and the largest size of work that a budget allows."""

import pytest

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.sizes import BEYOND, parse_bytes, readable
from ddkit.synthesis.budget import bytes_needed, largest_fitting

REFUSED = r"^a size is a number with a unit, such as 6\.5GB or 800MB$"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6.5GB", 6_500_000_000),
        ("800 MB", 800_000_000),
        ("800mb", 800_000_000),
        ("  1.5 kB ", 1500),
        ("12B", 12),
        ("123", 123),
        ("2GiB", 2 * 2**30),
        ("0.5MiB", 2**19),
        ("4 KiB", 4096),
        (".5kB", 500),
    ],
)
def test_a_size_is_a_number_with_a_unit(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "much",
        "6,5GB",
        "6.5 GB more",
        "-5GB",
        "5 G",
        "5XB",
        "1e9",
        "5GB 3MB",
        "0x10",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=REFUSED):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["1.2.3GB", ".", "1..5MB"])
def test_more_than_one_point_is_refused_as_other_texts_are(text):
    with pytest.raises(ValueError, match=REFUSED):
        parse_bytes(text)


@pytest.mark.parametrize("value", [None, 5, 10**12])
def test_what_is_no_text_is_left_as_it_is(value):
    assert parse_bytes(value) is value


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (640, "640 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (26_540, "26.5 kB"),
        (1_250_000, "1.2 MB"),
        (6.5e9, "6.5 GB"),
        (2e12, "2.0 TB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_are_shown_as_people_read_them(count, expected):
    assert readable(count) == expected


@pytest.mark.parametrize("count", [12, 1500, 26_500, 1_200_000, 6_500_000_000])
def test_what_is_shown_can_be_said(count):
    assert parse_bytes(readable(count)) == count


def measured(function):
    """Return a peak that keeps a list of the sizes it was asked for, and this list."""
    asked: list[int] = []

    def peak(size: int) -> int:
        asked.append(size)
        return function(size)

    return peak, asked


@pytest.mark.parametrize("budget", [110, 119, 120, 257, 300, 1094, 1100, 10**9])
@pytest.mark.parametrize("limit", [1, 2, 10, 16, 17, 99])
def test_the_largest_size_that_fits_where_memory_grows_evenly(budget, limit):
    peak, asked = measured(lambda size: 100 + 10 * size)
    expected = max(size for size in range(1, limit + 1) if 100 + 10 * size <= budget)
    assert largest_fitting(peak, budget, limit, "a part") == expected
    assert len(asked) <= 3  # two sizes, and the answer
    assert all(1 <= size <= limit for size in asked)


def test_memory_that_does_not_grow_allows_the_limit():
    assert largest_fitting(lambda size: 50, 200, 70, "a part") == 70
    assert largest_fitting(lambda size: 500 // size, 600, 70, "a part") == 70


def test_an_answer_that_does_not_fit_after_all_is_lowered_until_it_does():
    def peak(size: int) -> int:
        return 10 * size if size <= 20 else size**2

    plain, asked = measured(peak)
    found = largest_fitting(plain, 2000, 100, "a part")
    assert peak(found) <= 2000
    assert found >= 0.95 * 44 - 1  # 44² is the last below 2000
    assert asked[-1] == found
    assert asked[2:] == sorted(asked[2:], reverse=True)
    assert asked[2] == 100


def test_it_is_lowered_to_one_if_need_be():
    peak, asked = measured(lambda size: {1: 1, 16: 60}.get(size, 1000))
    assert largest_fitting(peak, 50, 60, "a part") == 1
    assert asked == [1, 16, *range(13, 1, -1)]


def test_a_limit_of_one_is_measured_once():
    peak, asked = measured(lambda size: 100)
    assert largest_fitting(peak, 100, 1, "a part") == 1
    assert asked == [1]


@pytest.mark.parametrize("limit", [1, 30])
def test_where_not_even_one_fits_the_message_says_how_much_it_needs(limit):
    with pytest.raises(DdkitError) as error:
        largest_fitting(lambda size: 2_000_000 * size, 1_500_000, limit, "a part")
    assert str(error.value) == (
        "--memory-budget 1.5 MB is too small: a part of 1 image, the smallest, needs 2.0 MB"
    )


def test_what_the_device_has_not_even_for_one_is_said():
    with pytest.raises(DdkitError) as error:
        largest_fitting(lambda size: BEYOND + 5, 1_500_000, 30, "a part")
    assert str(error.value) == (
        "a part of 1 image, the smallest, does not fit on the device beside what is already "
        "there: free some of its memory, or use a smaller network"
    )
    assert readable(BEYOND) == "more than the device has"


@pytest.mark.parametrize("size", [1, 2, 16, 17, 99])
def test_what_a_size_needs_is_said_by_two_small_ones(size):
    peak, asked = measured(lambda count: 100 + 10 * count)
    assert bytes_needed(peak, 50, size) == 100 + 10 * size
    assert max(asked) <= 16  # what does not fit is never tried
    assert bytes_needed(peak, 2000, size) == 100 + 10 * size
    assert asked[-1] == size  # what seems to fit is


def test_a_size_that_needs_more_than_small_ones_say_is_found_out():
    assert bytes_needed(lambda size: 10 * size if size <= 20 else size**2, 1000, 50) == 2500
