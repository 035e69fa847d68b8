"""How much methods say they have to do, against sums done by hand."""

import pytest

from ddkit import MethodOptions
from ddkit.methods.plugin import Plugin


def options(method: str, **values) -> MethodOptions:
    return Plugin(method).options_model()(**values)


def small(method: str, **values) -> MethodOptions:
    """Return the options that these are rehearsed with."""
    return options(method, **(values | dict(options(method, **values).rehearsed())))


@pytest.mark.parametrize(
    ("method", "values", "work", "volume"),
    [
        ("teddy", {"first": 1, "last": 41, "every": 5}, 41 * 8, 9),
        ("teddy", {"unit": "step", "first": 4, "last": 60, "every": 7}, 60, 9),
        # 10 members, 0 to 4 epochs of fine-tuning; a batch of 32 is an eighth of one of 256
        (
            "teddy",
            {"pool": "post", "finetune_epochs": 4.0},
            41 * 8 + 10 * 2 * 64 / 8,
            1 + 10 * 0.81**2,
        ),
        (
            "teddy",
            {"pool": "post", "prune_to_parameters": 0.5, "members": 4, "finetune_epochs": 0},
            41 * 8,
            1 + 4 * 0.5,
        ),
        ("tesla", {"experts": 7, "train_epochs": 40}, 7 * 40 * 8, 7 * 41),
        ("apm", {"teachers": 5, "train_epochs": 60}, 5 * 60 * 8, 5),
        ("selection", {"train_epochs": 30, "teachers": 2}, 30 * 8, 1),
        ("random", {}, 1, 1),
    ],
)
def test_the_work_of_a_pool(method, values, work, volume):
    found = options(method, **values)
    assert found.work("pool", per_epoch=8) == pytest.approx(work)
    assert found.volume("pool") == pytest.approx(volume)


@pytest.mark.parametrize(
    ("method", "values", "work", "volume"),
    [
        ("teddy", {"label_epochs": 300}, 300 * 9, 300),
        ("teddy", {"label_epochs": 300, "label_members": 2}, 300 * 2, 300),
        ("teddy", {"label_epochs": 300, "label_members": 20}, 300 * 9, 300),  # there are 9
        ("teddy", {"label_epochs": 300, "labels": "image"}, 9, 1),
        ("tesla", {"experts": 7}, 7, 1),
        ("tesla", {"experts": 7, "teachers": 3}, 3, 1),
        ("apm", {"teachers": 5}, 5, 1),
        ("apm", {"teachers": 5, "label_teachers": 2}, 2, 1),
        ("apm", {"teachers": 5, "labels": "teacher"}, 1, 1),
        ("selection", {}, 1, 1),
        ("random", {}, 1, 1),
    ],
)
def test_the_work_of_labels(method, values, work, volume):
    found = options(method, **values)
    assert found.work("relabel", per_epoch=8) == pytest.approx(work)
    assert found.volume("relabel") == pytest.approx(volume)


@pytest.mark.parametrize(
    ("method", "values", "members"),
    [
        ("teddy", {"teachers": 4}, 4),
        ("teddy", {"teachers": 4, "unit": "step", "first": 1, "last": 2, "every": 1}, 2),
        ("teddy", {"teachers": 2, "pool": "post", "prune_ratio": 0.5}, 1 + 2 * 0.25),
        ("tesla", {"max_start_epoch": 10, "expert_epochs": 2}, 1 * 3),  # epochs 0 to 2
        ("tesla", {"max_start_epoch": 10, "teacher_epoch": 40}, 1 * 3),
        ("apm", {}, 1),
        ("selection", {"teachers": 2}, 1),
    ],
)
def test_a_small_pool_has_all_that_a_step_may_draw(method, values, members):
    assert small(method, **values).volume("pool") == pytest.approx(members)


@pytest.mark.parametrize("method", ["teddy", "tesla", "apm", "selection"])
def test_steps_are_not_rehearsed_away(method):
    model = Plugin(method).options_model()
    assert model.steps_option not in model().rehearsed()
    assert small(method).work("pool", 8) > 0
    assert small(method).work("relabel", 8) > 0
