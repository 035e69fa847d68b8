"""`--steps` is one word for what each method calls otherwise."""

import pytest

from ddkit.methods.plugin import steps_setting
from ddkit.runtime.errors import DdkitError


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("teddy", "iterations"),
        ("sre2l", "iterations"),
        ("cvdd", "iterations"),
        ("tesla", "iterations"),
        ("mtt", "iterations"),
        ("apm", "rounds"),
        ("matching", "updates"),
        ("dsa", "updates"),
    ],
)
def test_steps_are_the_option_that_counts_them(method, option):
    assert steps_setting(method, 7) == (option, 7)


@pytest.mark.parametrize("method", ["random", "herding", "selection"])
def test_methods_that_only_choose_images_refuse_steps(method):
    with pytest.raises(DdkitError, match=f"^the method '{method}' has no steps: leave out --steps"):
        steps_setting(method, 7)


def test_zero_is_refused_where_it_would_mean_the_published_number():
    with pytest.raises(DdkitError, match=r"^--steps must be 1 or more \(got 0\)$"):
        steps_setting("dm", 0)
