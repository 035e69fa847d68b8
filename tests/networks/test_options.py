from typing import Literal

import pytest

from ddkit.networks.options import convert
from ddkit.runtime.errors import DdkitError


def factory(
    classes: int,
    shape: tuple[int, int, int],
    depth: int = 3,
    rate: float = 0.1,
    bias: bool = True,
    act: str = "relu",
    norm: Literal["batch", "group"] = "batch",
    size: int | None = None,
    grid: tuple[int, ...] = (),
    plain=2,
):
    """Every kind of option."""


def refusal(factory, **texts) -> str:
    with pytest.raises(DdkitError) as caught:
        convert(factory, texts, "net")
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "4", 4),
        ("rate", "1e-3", 1e-3),
        ("bias", "false", False),
        ("bias", "Yes", True),
        ("act", "3", "3"),
        ("norm", "group", "group"),
        ("size", "5", 5),
        ("size", "none", None),
        ("plain", "7", 7),
    ],
)
def test_annotations_give_the_type_and_defaults_stand_in_for_them(name, text, value):
    converted = convert(factory, {name: text}, "net")
    assert converted == {name: value}
    assert type(converted[name]) is type(value)


def test_annotations_may_be_text():
    def late(classes, shape, depth: "int" = 3): ...

    assert convert(late, {"depth": "4"}, "net") == {"depth": 4}


def test_an_annotation_only_a_type_checker_knows_harms_no_other_option():
    def guarded(classes, shape, depth=3) -> "Unimported": ...  # noqa: F821

    assert convert(guarded, {"depth": "4"}, "net") == {"depth": 4}


def test_a_factory_with_free_options_takes_any_name():
    def free(classes, shape, **options: int): ...

    assert convert(free, {"anything": "4"}, "net") == {"anything": 4}


def test_a_class_is_a_factory():
    class Net:
        def __init__(self, classes, shape, width: int = 2): ...

    assert convert(Net, {"width": "4"}, "net") == {"width": 4}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dept", "3", "unknown option 'dept': did you mean 'depth'? (of network 'net')"),
        ("norm", "bach", "unknown norm 'bach': did you mean 'batch'? (of network 'net')"),
        ("depth", "3.5", "network 'net': option depth=3.5 is not a whole number"),
        ("rate", "fast", "network 'net': option rate=fast is not a number"),
        ("bias", "maybe", "network 'net': option bias=maybe is not true or false"),
        ("size", "big", "network 'net': option size=big is not a whole number or none"),
        (
            "grid",
            "3",
            "network 'net': option 'grid' is of type tuple[int, ...], which cannot be written "
            "here; use int, float, bool, str or Literal",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(name, text, message):
    assert refusal(factory, **{name: text}) == message


def test_the_class_count_and_the_shape_are_no_options():
    assert refusal(factory, classes="3").startswith("unknown option 'classes'")


def test_an_option_without_default_must_be_given():
    def needy(classes, shape, depth: int): ...

    assert refusal(needy) == (
        "network 'net' takes (classes, shape, depth: int), which cannot be called with "
        "(classes, shape): missing a required argument: 'depth'"
    )


def test_a_factory_must_take_classes_and_shape():
    def lonely(classes): ...

    assert refusal(lonely) == (
        "network 'net' takes (classes), which cannot be called with (classes, shape): "
        "too many positional arguments"
    )
