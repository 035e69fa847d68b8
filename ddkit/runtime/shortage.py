"""Memory that does not suffice: one line that says in what, how much there was, and what helps."""

import errno
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from ddkit.runtime.errors import OutOfMemory
from ddkit.runtime.sizes import readable

Place = Literal["cuda", "cpu"]
# what errors say that are no `OutOfMemoryError`, and where memory was short
TEXTS: dict[str, Place] = {
    "CUDA out of memory": "cuda",
    "CUDA error: out of memory": "cuda",
    "STATUS_ALLOC_FAILED": "cuda",  # of cuBLAS and cuDNN
    "can't allocate memory": "cpu",
    "not enough memory": "cpu",
}
WANTED = re.compile(r"to allocate (\d[\d.]*) ?([KMGT]iB|bytes)", re.IGNORECASE)
POWERS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}

KEPT = ". What was done is kept: with more memory, the same command continues"


@contextmanager
def enough_memory(
    what: str,
    device: torch.device | str = "cpu",
    ways: Callable[[int], Sequence[str]] = lambda taken: (),
    kept: str = "",
) -> Iterator[None]:
    """Say in one line that memory ran out in the block.

    Args:
        what: is done in it, such as "the synthesis".
        device: where.
        ways: bytes that were taken → what would take less, as words for "try …".
        kept: what is so of what was done, a sentence.

    Raises:
        OutOfMemory: memory ran out, on the device or on the host.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        place = short_of(error)
        if place is None:
            raise
        where = torch.device(device if place == "cuda" else "cpu")
        taken, there = _figures(where)
        wanted = _wanted(str(error))
        more = f" and wanted {wanted} more" if wanted else ""
        on = str(where) if place == "cuda" else "this machine"
        *others, last = ways(taken) or ["a smaller network"]
        helps = f"{', '.join(others)} or {last}" if others else last
        raise OutOfMemory(
            f"{what} ran out of memory on {on}: it had {readable(taken)}{there}{more}; "
            f"try {helps}{kept}"
        ) from error


def short_of(error: BaseException) -> Place | None:
    """Return where memory was short by an error; None where the error is another."""
    if isinstance(error, torch.OutOfMemoryError):
        return "cuda"
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "cpu"
    if not isinstance(error, RuntimeError):
        return None
    return next((place for text, place in TEXTS.items() if text in str(error)), None)


def _figures(device: torch.device) -> tuple[int, str]:
    """Return the bytes that this process has, and words for what there is at all."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        others = total - free - torch.cuda.memory_reserved(device)
        beside = f", beside {readable(others)} of others" if others > total / 20 else ""
        return torch.cuda.memory_allocated(device), f" of {readable(total)}{beside}"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, ""


def _wanted(text: str) -> str:
    """Return how much an error says that it wanted, as people read it; "" where it doesn't."""
    found = WANTED.search(text)
    if found is None:
        return ""
    return readable(float(found[1]) * 2 ** POWERS[found[2][0].lower()])
