"""Selection runs on digits, small enough for tests, and what they chose."""

from collections.abc import Callable
from typing import Any

import pytest
from ddkit_selection.objective import SelectionObjective

from ddkit import DistilledDataset, load
from ddkit.config import RunConfig
from ddkit.methods.plugin import Plugin
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline.prepare import prepare
from ddkit.pipeline.resolve import Request, resolve
from ddkit.pipeline.stages import Stage

NETWORK = "convnet:depth=2:width=8"
SMALL = ("train_epochs=2", "train_batch=256")


@pytest.fixture
def configured() -> Callable[..., RunConfig]:
    """Return a function that resolves a small run on digits."""

    def make(
        *settings: str,
        method: str = "herding",
        data: dict[str, Any] | None = None,
        sources: dict[str, str] | None = None,
        **common: Any,
    ) -> RunConfig:
        flags = {"ipc": 1, "threads": 1, "network": NETWORK, **common}
        small = SMALL if method in ("selection", "herding", "k-center") else ()
        request = Request(method, flags, data or {}, [*small, *settings], "none", sources or {})
        return resolve(request)

    return make


@pytest.fixture
def objective(configured, tmp_path) -> Callable[..., SelectionObjective]:
    """Return a function that makes the objective of a run, its pool trained."""

    def make(*settings: str, **common: Any) -> SelectionObjective:
        run = prepare(configured(*settings, **common), tmp_path / "run")
        run = Stage(run, "synthesis").run
        return Plugin("selection").synthesis_loss(run, stage_pools.open_pool(run, "synthesis"))

    return make


@pytest.fixture
def distilled(configured, tmp_path) -> Callable[..., DistilledDataset]:
    """Return a function that does a whole run in a folder of a name."""

    def make(folder: str, *settings: str, **common: Any) -> DistilledDataset:
        return load(pipeline.distill(configured(*settings, **common), tmp_path / folder))

    return make


@pytest.fixture
def refused(refused_line) -> Callable[..., str]:
    """Return a function that calls `ddkit distill` on a small run with more flags."""

    def call(*more: str, method: str = "herding") -> str:
        network = [] if "--network" in more else ["--network", NETWORK]
        return refused_line(
            "distill", "--method", method, "--threads", "1", "-o", "run", *network, *more
        )

    return call
