"""A Teddy run on made images, small enough for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddkit import Run
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage

SMALL = (
    "unit=step",
    "first=1",
    "last=5",
    "every=2",
    "train_batch=64",
    "recalibrate=200",
    "iterations=3",
    "label_epochs=2",
)


@pytest.fixture
def teddy_run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that prepares a Teddy run on digits, for one stage."""

    def make(*settings: str, data: dict[str, Any] | None = None, **common: Any) -> Run:
        flags = {"ipc": 1, "threads": 1, "network": "convnet:width=8:norm=batch", **common}
        config = resolve(Request("teddy", flags, data or {}, [*SMALL, *settings], "none"))
        return Stage(prepare(config, tmp_path / "run"), "synthesis").run

    return make
