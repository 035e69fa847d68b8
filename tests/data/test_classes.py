"""Two lists of classes: matched by name, or refused."""

import pytest

from ddkit.data.classes import matched, reordered

TEXT = ("0", "1", "10", "11", "2", "3")


@pytest.mark.parametrize(
    ("wanted", "given", "places"),
    [
        ("abc", "abc", [0, 1, 2]),
        ("cab", "abc", [2, 0, 1]),
        ("abc", "abd", None),
        ("ab", "abc", None),
        ("abc", "012", [0, 1, 2]),  # no names
        ("012", "xyz", [0, 1, 2]),
        ("021", "012", [0, 2, 1]),
        ("123", "abc", None),  # numbers, but from 1 on: names that contradict
        (TEXT, ("0", "1", "2", "3", "10", "11"), [0, 1, 4, 5, 2, 3]),
    ],
)
def test_classes_are_matched_by_name(wanted, given, places):
    assert matched(list(wanted), list(given)) == places


def test_the_first_class_that_moved_is_told():
    assert reordered(TEXT, ("0", "1", "2", "3", "10", "11")) == "class 2 is '10' and '2'"
    assert reordered("abc", "abc") == reordered("abc", "abd") == reordered("ab", "abc") == ""
