"""A row of the comparison: how far apart, how fast, in how much memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.foreign import quiet
from ddkit.runtime.memory import PeakMemory

Step = Callable[[], object]
LEAST = 2  # rounds


@dataclass(frozen=True)
class Pair:
    """The same work by the released code and by ddkit.

    Attributes:
        seconds: of a processor, medians of theirs and ours.
        ratio: ours over theirs, the median over rounds in turn, so that noise hits both alike.
        peaks: bytes of live tensors of theirs and ours, without what there was before.
    """

    seconds: tuple[float, float]
    ratio: float
    rounds: int
    peaks: tuple[int, int] | None = None


@dataclass(frozen=True)
class Row:
    """What was compared.

    Attributes:
        executed: files and lines of the released code that were run.
        agreement: in words, with figures.
        figures: the same figures, for machines.
    """

    what: str
    executed: Sequence[str]
    agreement: str
    pair: Pair | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[str, ...]:
        pair = self.pair
        peaks = pair and pair.peaks
        return (
            self.what,
            self.agreement,
            f"{pair.ratio:.2f}" if pair else "",
            " / ".join(f"{peak / 1e6:.0f}" for peak in peaks) + " MB" if peaks else "",
            ", ".join(f"`{place}`" for place in self.executed),
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cells": self.cells}


def compared(seconds: float, theirs: Step, *ours: Step) -> list[Pair]:
    """Measure theirs and each of ours in turn, there and back: A B B A, or A B C C B A.

    For about so many seconds, at least two rounds.
    """
    steps = (theirs, *ours)
    with quiet():
        peaks = [peak(step) for step in steps]
        rounds: list[list[float]] = []
        began = time.perf_counter()
        while len(rounds) < LEAST or time.perf_counter() - began < seconds:
            there = [timed(step) for step in steps]
            back = [timed(step) for step in reversed(steps)]
            rounds.append([a + b for a, b in zip(there, reversed(back), strict=True)])
    return [
        Pair(
            (median(taken[0] for taken in rounds) / 2, median(taken[i] for taken in rounds) / 2),
            median(taken[i] / taken[0] for taken in rounds),
            len(rounds),
            (peaks[0], peaks[i]),
        )
        for i in range(1, len(steps))
    ]


def timed(step: Step) -> float:
    """Return the seconds of a processor that a step takes, whatever else the machine does."""
    began = time.process_time()
    step()
    return time.process_time() - began


def peak(step: Step) -> int:
    """Return the peak of live tensors of a step."""
    with PeakMemory() as memory:
        step()
    return memory.peak


def apart(found: Tensor, reference: Tensor) -> float:
    """Return ‖found − reference‖ / ‖reference‖."""
    return float(torch.linalg.norm(found - reference) / torch.linalg.norm(reference))


def furthest(found: Tensor, reference: Tensor) -> float:
    """Return the largest difference of two tensors' elements."""
    return float((found - reference).abs().max())
