"""Ctrl-C: the first asks long work to stop at its next safe point, the second stops it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block with a KeyboardInterrupt once what is done is kept.

    For the library: who called has the signal handlers back afterwards. Outside the main thread,
    where Python allows no handlers, a signal reaches whatever the main thread does.
    """
    in_main = threading.current_thread() is threading.main_thread()
    try:
        with stopping_on_signals() if in_main else nullcontext():
            yield
    except Stopped as stopped:
        raise KeyboardInterrupt("what was done is kept: the same call goes on there") from stopped


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
