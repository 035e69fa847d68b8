"""Who may open a split, and for how long it is kept: the test split is closed in distillation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ddkit.data.options import DataOptions
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError

_sealed: ContextVar[bool] = ContextVar("sealed", default=False)
_kept: ContextVar[dict[tuple[object, ...], Split] | None] = ContextVar("kept", default=None)
KEPT_SPLITS = 3  # training and test split of one data set, and one more while they change


@contextmanager
def sealed_test() -> Iterator[None]:
    """Refuse the test split for the time of the block: no hook of a method can choose on it."""
    token = _sealed.set(True)
    try:
        yield
    finally:
        _sealed.reset(token)


def check_unsealed(split: str) -> None:
    """Raise `DdkitError` where the test split is asked for inside `sealed_test`."""
    if split == "test" and _sealed.get():
        raise DdkitError(
            "the test split is closed while a set is distilled and labelled: only evaluation "
            "opens it; use run.holdout to select or tune"
        )


@contextmanager
def keeping_splits() -> Iterator[None]:
    """Keep the last few splits in memory for the time of the block, for many runs on one set."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def kept(options: DataOptions, split: str, seed: int, read: Callable[[], Split]) -> Split:
    """Return what `read` returns, or the same split as before inside `keeping_splits`."""
    memory = _kept.get()
    if memory is None:
        return read()
    key = (options, split, seed if options.imbalance is not None else 0)
    if key not in memory:
        memory[key] = read()
        for old in list(memory)[:-KEPT_SPLITS]:
            del memory[old]
    return memory[key]
