"""What is said of a name that is not known."""

import pytest

from ddkit.runtime.errors import unknown


@pytest.mark.parametrize(
    ("name", "known", "advice"),
    [
        ("iterations", ["train_lr", "rounds"], "known are: rounds, train_lr"),
        ("width", ["depth"], "known are: depth"),
        ("dc", ["dm", "dsa"], "known are: dm, dsa"),
        ("amp", ["apm", "mtt"], "did you mean 'apm'?"),
        ("iteration", ["iterations", "lr"], "did you mean 'iterations'?"),
        ("mien", ["mine"], "did you mean 'mine'?"),
        ("x", [], "known are: none"),
        ("x", [f"n{i:02}" for i in range(41)], ", ".join(f"n{i:02}" for i in range(40)) + " … (41"),
    ],
)
def test_a_name_is_suggested_only_where_it_is_near(name, known, advice):
    assert advice in str(unknown("option", name, known))
    assert ("did you mean" in advice) == ("did you mean" in str(unknown("option", name, known)))
