"""What a contract is made of: promises, each of a hook, that a method keeps or breaks."""

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest

from ddkit.testing.method import MethodUnderTest

Parameters = ParamSpec("Parameters")
Contract = TypeVar("Contract", bound=MethodUnderTest)


class Broken(Exception):  # noqa: N818 - it names what happened to the promise
    """A promise is broken; the message says what was found."""


def promise(
    hook: str, promised: str
) -> Callable[
    [Callable[Concatenate[Contract, Parameters], None]],
    Callable[Concatenate[Contract, Parameters], None],
]:
    """Make a test of what `hook` promises: whatever it raises becomes one sentence about that.

    `promised` goes on after "promises that".
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def checked(self: Contract, *arguments: Any, **fixtures: Any) -> None:
            try:
                test(self, *arguments, **fixtures)
            except Exception as error:  # whatever a method under test may raise
                said = found(error)
            else:
                return
            pytest.fail(
                f"the method '{self.method}' breaks a promise of its hook '{hook}', "
                f"that {promised}: {said}",
                pytrace=False,
            )

        return checked

    return decorate


def found(error: Exception) -> str:
    """Return in one line what an error says, and where it came from unless it is ours."""
    text = " ".join(str(error).split())
    if isinstance(error, Broken):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{type(error).__name__}: {text} ({where})"
