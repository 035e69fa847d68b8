"""The one list of flags: models, options and documentation are made of it."""

from dataclasses import dataclass
from typing import Annotated, Literal

import click
import pytest
from ddkit_cli import options

from ddkit.config import RunConfig
from ddkit.data.options import DataOptions
from ddkit.flags import CommonFlags, DataFlags, DistillFlags, MethodFlags
from ddkit.pipeline.flags import takes
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.flag import Flag, described
from ddkit.runtime.settings import Strict, validated


@dataclass(kw_only=True)
class Ovens:
    """Flags of another tool."""

    heat: Annotated[int | None, Flag("degrees", ge=1, lt=300, metavar="C")] = None
    mode: Annotated[Literal["air", "grill"], Flag("what heats")] = "air"
    light: Annotated[bool | None, Flag("is it lit?")] = None
    clock: bool = False


@takes(Ovens)
def bake(**said):
    """Bake.

    Args:
        {flags}
    """
    return said


class Oven(Strict, Ovens):
    """What the flags become."""

    name: str


def test_models_have_the_flags_as_fields():
    assert set(DataOptions.model_fields) == {"name", *described(DataFlags)}
    assert set(described(CommonFlags)) < set(RunConfig.model_fields)
    known = [*described(MethodFlags), *described(CommonFlags), *described(DataFlags)]
    assert len(known) == len(set(known)), "no flag is in two classes"


def test_every_flag_has_words():
    assert all(known.flag.words and known.help for known in described(DistillFlags).values())


def test_one_line_makes_a_checked_field():
    assert validated(Oven, {"name": "a", "heat": 299}, "the oven").heat == 299
    assert validated(Oven, {"name": "a"}, "the oven").mode == "air"
    for wrong in ({"heat": 0}, {"heat": 300}, {"mode": "steam"}):
        with pytest.raises(DdkitError, match=rf"option '{next(iter(wrong))}' of the oven"):
            validated(Oven, {"name": "a", **wrong}, "the oven")


def test_one_line_makes_an_argument_and_its_documentation():
    assert bake(heat=3, mode=None) == {"heat": 3}
    assert bake.__doc__.endswith(
        "Args:\n    heat: degrees\n    mode: what heats; default: air\n    light: is it lit?"
    )


def test_one_line_makes_an_option(monkeypatch):
    monkeypatch.setattr(options, "KNOWN", described(Ovens))
    monkeypatch.setattr(options, "OF_A_RUN", described(Ovens))
    command = click.command()(options.flag_options(*described(Ovens))(lambda **_: None))
    said = command.make_context("bake", ["--heat", "7", "--no-light", "--mode", "grill"]).params
    assert said == {"heat": 7, "light": False, "mode": "grill"}
    assert set(command.make_context("bake", []).params.values()) == {None}
    with pytest.raises(click.BadParameter, match="'steam' is not one of 'air', 'grill'"):
        command.make_context("bake", ["--mode", "steam"])
    assert [each.metavar for each in command.params] == ["C", None, None]
