"""The generators that a process shares: nobody's to draw from, nobody's to seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SHARED = ("torch", "numpy", "random")


@contextmanager
def odd_generators(number: int) -> Iterator[list[str]]:
    """Put the shared generators into states that follow from `number`, for the time of the block.

    What is drawn from them differs from block to block. The list that is returned holds, after the
    block, the names of those that it changed.
    """
    before = _states()
    changed: list[str] = []
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    start = _states()
    try:
        yield changed
    finally:
        changed += [name for name, now in _states().items() if not _equal(now, start[name])]
        _restore(before)


def _states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "random": random.getstate(),
    }


def _restore(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["random"])


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
