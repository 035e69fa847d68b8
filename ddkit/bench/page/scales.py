"""Axes: where values lie, and which of them are written beside the axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from ddkit.bench.words import duration
from ddkit.runtime.sizes import readable

SECONDS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 360000.0, 3600000.0)


@dataclass(frozen=True)
class Tick:
    at: float  # in pixels
    text: str


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = log10(value), log10(low), log10(high)
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)

    def ticks(self, values: Sequence[float], text: Callable[[float], str]) -> list[Tick]:
        return [Tick(self(v), text(v)) for v in values if self.low <= v <= self.high]


def percent_axis(low: float, high: float, start: float, end: float) -> tuple[Scale, list[Tick]]:
    """Return an axis of accuracies (0 … 1) a little beyond `low` and `high`, ticks in percent."""
    room = max(0.02, high - low) * 0.08
    low, high = max(0.0, low - room), min(1.0, high + room)
    step = _round_step((high - low) / 5)
    scale = Scale(low, high, start, end)
    digits = max(0, -floor(log10(100 * step) + 1e-9))
    marks = [step * n for n in range(ceil(low / step), floor(high / step + 1e-9) + 1)]
    return scale, scale.ticks(marks, lambda value: f"{100 * value:.{digits}f}")


def ipc_axis(values: Sequence[int], start: float, end: float) -> tuple[Scale, list[Tick]]:
    """Return a logarithmic axis with a tick at each ipc that was measured."""
    low, high = min(values), max(values)
    room = (high / low) ** 0.06
    scale = Scale(low / room, high * room, start, end, log=True)
    return scale, scale.ticks(sorted(set(values)), str)


def seconds_axis(values: Sequence[float], start: float, end: float) -> tuple[Scale, list[Tick]]:
    scale = _log_scale(values, start, end)
    return scale, scale.ticks(_sparse(scale, SECONDS), lambda value: _short(duration(value)))


def bytes_axis(values: Sequence[float], start: float, end: float) -> tuple[Scale, list[Tick]]:
    scale = _log_scale(values, start, end)
    decades = [10.0**power for power in range(13)]
    return scale, scale.ticks(_sparse(scale, decades), lambda value: _short(readable(value)))


def _short(text: str) -> str:
    return text.replace(".0 ", " ")


def _log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a logarithmic scale that is never narrower than a decade."""
    low, high = min(values), max(values)
    middle, half = (low * high) ** 0.5, max((high / low) ** 0.5, 10**0.5) * 1.25
    return Scale(middle / half, middle * half, start, end, log=True)


def _sparse(scale: Scale, decades: Sequence[float]) -> list[float]:
    """Return marks that leave room for their texts: decades, or more where there are few."""
    inside = [value for value in decades if scale.low <= value <= scale.high]
    if len(inside) > 2:
        return inside[:: ceil(len(inside) / 6)]
    powers = range(floor(log10(scale.low)), ceil(log10(scale.high)) + 1)
    return [factor * 10.0**power for power in powers for factor in (1, 2, 5)]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is `least` at least."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
