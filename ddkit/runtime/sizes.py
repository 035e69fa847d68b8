"""Memory budgets: sizes in bytes as people write them, and what fits, found by measuring."""

import re
import sys
from typing import Any

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
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
