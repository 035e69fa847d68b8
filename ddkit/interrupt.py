"""Ctrl-C: the first asks long work to stop at its next safe point, the second stops it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_requested = threading.Event()


class Stopped(Exception):  # noqa: N818 - it is no error: someone asked for it
    """Raised at a safe point, after what is needed to go on was written."""


def stop_requested() -> bool:
    """Return whether someone has asked the work to stop."""
    return _requested.is_set()


def request_stop() -> None:
    """Ask the work of this process to stop at its next safe point."""
    _requested.set()


def check_stop() -> None:
    """Raise `Stopped` if someone has asked for it: for work that has nothing to save."""
    if stop_requested():
        raise Stopped


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a request to stop for the time of the block."""

    def request(signum: int, frame: FrameType | None) -> None:
        if stop_requested():
            raise KeyboardInterrupt
        _requested.set()

    _requested.clear()
    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _requested.clear()
