"""Selection runs on digits, small enough for tests, and what they chose."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ddkit_selection.objective import SelectionObjective

from ddkit import DistilledDataset, load, pipeline, stage_pools
from ddkit.config import RunConfig
from ddkit.plugins import Plugin
from ddkit.resolve import Request, resolve

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
        run = pipeline.prepare(configured(*settings, **common), tmp_path / "run")
        run = run.for_stage("synthesis")
        return Plugin("selection").synthesis_loss(run, stage_pools.open_pool(run, "synthesis"))

    return make


@pytest.fixture
def distilled(configured, tmp_path) -> Callable[..., DistilledDataset]:
    """Return a function that does a whole run in a folder of a name."""

    def make(folder: str, *settings: str, **common: Any) -> DistilledDataset:
        return load(pipeline.distill(configured(*settings, **common), tmp_path / folder))

    return make


@pytest.fixture
def refused(tmp_path: Path, monkeypatch, capfd) -> Callable[..., str]:
    """Return a function that calls `ddkit distill` on a small run with more flags.

    The call must fail with one line, which is returned.
    """
    from ddkit_cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*more: str, method: str = "herding") -> str:
        flags = ["distill", "--method", method, "--threads", "1", "-o", "run"]
        flags += [] if "--network" in more else ["--network", NETWORK]
        monkeypatch.setattr(sys, "argv", ["ddkit", *flags, *more])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        err = capfd.readouterr().err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert leaving.value.code == 1, err
        assert len(errors) == 1, err
        assert "Traceback" not in err
        assert err.rstrip().endswith(errors[0])
        return errors[0]

    return call
