"""How long work tells that it goes on: the core reports, its caller decides what to show."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar: how far, and a few figures beside it."""

    def advance(self, steps: int = 1) -> None: ...

    def show(self, **figures: str) -> None: ...


class Progress(Protocol):
    """What a `Run` reports to."""

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[Task]: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Shows nothing: the default of the library."""

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator[Task]:
        yield self

    def advance(self, steps: int = 1) -> None:
        pass

    def show(self, **figures: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass
