"""The arithmetics that steps are measured in: what `--precision auto` chooses from, and float32."""

from collections.abc import Sequence

import torch

from benchmarks.device.timing import Step
from ddkit.runtime.arithmetic import (
    EXACT,
    PRECISIONS,
    Arithmetic,
    ArithmeticRequest,
    Loop,
    Precision,
    usual,
)


def arithmetics(
    device: torch.device, precisions: Sequence[Precision] = PRECISIONS, *, layouts: bool = True
) -> list[Arithmetic]:
    """Return the arithmetics of a loop that bears these precisions.

    The first is what loops have that choose nothing; `layouts` is whether channels-last counts.
    """
    candidates = ArithmeticRequest().candidates(Loop(device, precisions, layouts))
    return list(dict.fromkeys([usual(device), EXACT, *candidates]))


def within(arithmetic: Arithmetic, device: torch.device, step: Step) -> Step:
    """Return a step of bare torch, computed in an arithmetic.

    Without autocast's cache: a step that changes weights several times would find old ones.
    """
    lower = arithmetic.precision == "bf16"

    def computed() -> object:
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)
        with arithmetic.rounding(device), autocast:
            return step()

    return computed
