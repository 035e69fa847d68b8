"""Batches made ahead of their use in a thread, and copied to the device beside the computation."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

Sent = tuple[Tensor, Any]
"""A batch on the device, and the event after which it is there; None on a CPU."""

AHEAD = 2  # batches: one that is being made, and one that is ready


def ahead(makers: Iterable[Callable[[], Tensor]], device: torch.device) -> Iterator[Tensor]:
    """Yield what each of `makers` returns, in order, on the device.

    They are called in a thread of their own, a few before their results are asked for. The
    iterable itself runs in the caller's thread, so that what it draws is always drawn in order.
    """
    side = torch.cuda.Stream(device) if device.type == "cuda" else None
    waiting: deque[Future[Sent]] = deque()
    pool = ThreadPoolExecutor(1, "batches")
    try:
        for make in makers:
            waiting.append(pool.submit(_send, make, device, side))
            if len(waiting) > AHEAD:
                yield _received(waiting.popleft().result())
        while waiting:
            yield _received(waiting.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def _send(make: Callable[[], Tensor], device: torch.device, side: Any) -> Sent:
    """Make a batch and begin to copy it to a CUDA device, on the stream `side`, if there is one."""
    if side is None:
        return make(), None
    with torch.cuda.stream(side):
        made = make()
        sent = made if made.is_cuda else made.pin_memory().to(device, non_blocking=True)
        return sent, side.record_event()


def _received(sent: Sent) -> Tensor:
    """Make the caller's stream wait for the copy, and the copy's memory for the caller's stream."""
    batch, copied = sent
    if copied is not None:
        current = torch.cuda.current_stream(batch.device)
        current.wait_event(copied)
        batch.record_stream(current)  # its memory was allotted on the other stream
    return batch
