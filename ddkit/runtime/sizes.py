"""Memory budgets: sizes in bytes as people write them, and what fits, found by measuring."""

import re
import sys
from collections.abc import Callable
from typing import Any

from ddkit.runtime.errors import DdkitError

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SECOND = 16  # the larger of the two measured sizes, where so many fit
BEYOND = sys.maxsize  # the peak of what the device has not enough memory for


def parse_bytes(value: Any) -> Any:
    """Return "6.5GB", "800 MB" or "2GiB" as bytes; raises `ValueError` for other texts."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", value.lower())
    unit = UNITS.get(match[2] or "b") if match else None
    if match is None or unit is None:
        raise ValueError("a size is a number with a unit, such as 6.5GB or 800MB")
    return int(float(match[1]) * unit)


def readable(count: float) -> str:
    """Return bytes as people read them: "640 B", "26.5 kB", "1.2 GB" (powers of 1000)."""
    if count >= BEYOND:
        return "more than the device has"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def largest_fitting(peak: Callable[[int], int], budget: int, limit: int, what: str) -> int:
    """Return the largest size of 1 … `limit` whose peak memory is within `budget`.

    Two sizes are measured: memory grows by as much with each further image. The answer is measured
    too, and lowered while it does not fit after all.

    Args:
        peak: size → bytes, `BEYOND` where there are not so many.
        budget: in bytes.
        limit: the largest size that makes sense.
        what: what has this size, for the error message, such as "a segment".

    Raises:
        DdkitError: size 1 does not fit; the message says how much it needs.
    """
    least = peak(1)
    if least >= BEYOND:
        raise DdkitError(
            f"{what} of 1 image, the smallest, does not fit the device beside what is there "
            "already: free some of its memory, or take a smaller network"
        )
    if least > budget:
        raise DdkitError(
            f"--memory-budget {readable(budget)} is too small: {what} of 1 image, the smallest, "
            f"needs {readable(least)}"
        )
    if limit == 1:
        return 1
    second = min(limit, SECOND)
    slope = max(1.0, (peak(second) - least) / (second - 1))
    size = min(limit, 1 + int((budget - least) / slope))
    while size > 1 and peak(size) > budget:
        size = max(1, int(size * 0.95))
    return size


def needed(peak: Callable[[int], int], budget: int, size: int) -> int:
    """Return the bytes that a size needs, as two smaller ones say; measured only where it fits.

    Args:
        peak, budget: as for `largest_fitting`; one image alone is not measured, which has no
            statistics.
    """
    first, second = min(2, size), min(SECOND, size)
    low, high = peak(first), peak(second)
    if second == size:
        return high
    guess = low + (high - low) * (size - first) // (second - first)
    return peak(size) if guess <= budget else guess
