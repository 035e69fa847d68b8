"""An APM run on digits, small enough for tests, and its flags."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddkit import Run
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage

NETWORK = "convnet:depth=1:width=8"
SMALL = (
    "teachers=2",
    "train_epochs=2",
    "train_batch=256",
    "together=1",
    "rounds=3",
    "student_epochs=4",
    "checkpoints=2",
    "lr_images=5",
    "evaluation_epochs=4",
)


@pytest.fixture
def apm_run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that prepares an APM run on digits, for one stage."""

    def make(
        *settings: str,
        method: str = "apm",
        stage: str = "synthesis",
        data: dict[str, Any] | None = None,
        sources: dict[str, str] | None = None,
        **common: Any,
    ) -> Run:
        flags = {"ipc": 1, "threads": 1, "network": NETWORK, **common}
        small = SMALL if method == "apm" else ()
        request = Request(method, flags, data or {}, [*small, *settings], "none", sources or {})
        return Stage(prepare(resolve(request), tmp_path / "run"), stage).run

    return make


@pytest.fixture
def refused(refused_line) -> Callable[..., str]:
    """Return a function that calls `ddkit distill --method apm` on a small run with more flags."""
    flags = ["distill", "--method", "apm", "--network", NETWORK, "--threads", "1"]
    flags += [part for setting in SMALL for part in ("--set", setting)]
    return lambda *more: refused_line(*flags, *more)
