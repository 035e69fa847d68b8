"""Matching runs on digits and on made-up images, small enough for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ddkit_matching.options import MatchingOptions

from ddkit import Run
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage

NETWORK = "convnet:depth=2:width=8"


@pytest.fixture
def matching_run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that prepares the synthesis of a run on three of the digits."""

    def make(*settings: str, method: str = "dc", **common: Any) -> Run:
        flags = {"ipc": 1, "threads": 1, "network": NETWORK, **common}
        small = ("updates=4", "batch_real=16")
        config = resolve(Request(method, flags, {"classes": 3}, [*small, *settings], "none"))
        return Stage(prepare(config, tmp_path / "run"), "synthesis").run

    return make


@pytest.fixture
def made_up(run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that makes a run on a tiny split; options are keywords too."""

    def make(*, split: Any = None, config: dict[str, Any] | None = None, **options: Any) -> Run:
        flags = {"method": "matching", "plugin": "matching", "network": NETWORK, **(config or {})}
        return run(train=split, options=MatchingOptions(**options), **flags)

    return make


@pytest.fixture
def refused(refused_line) -> Callable[..., str]:
    """Return a function that calls `ddkit distill` on a small run with more flags."""

    def call(*more: str, method: str = "dc") -> str:
        network = [] if "--network" in more else ["--network", NETWORK]
        return refused_line(
            "distill",
            "--method",
            method,
            "--threads",
            "1",
            "-o",
            "run",
            *network,
            "--set",
            "updates=2",
            *more,
        )

    return call
