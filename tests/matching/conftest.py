"""Matching runs on digits and on made-up images, small enough for tests; how to ask for a stop."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ddkit_matching.objective import MatchingObjective
from ddkit_matching.options import MatchingOptions

from ddkit import Run, interrupt, pipeline
from ddkit.resolve import Request, resolve
from ddkit.storage import TensorFile
from ddkit.synthesis import Engine

NETWORK = "convnet:depth=2:width=8"


@pytest.fixture
def matching_run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that prepares the synthesis of a run on three of the digits."""

    def make(*settings: str, method: str = "dc", **common: Any) -> Run:
        flags = {"ipc": 1, "threads": 1, "network": NETWORK, **common}
        small = ("updates=4", "batch_real=16")
        config = resolve(Request(method, flags, {"classes": 3}, [*small, *settings], "none"))
        return pipeline.prepare(config, tmp_path / "run").for_stage("synthesis")

    return make


@pytest.fixture
def made_up(run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that makes a run on a tiny split; options are keywords too."""

    def make(*, split: Any = None, config: dict[str, Any] | None = None, **options: Any) -> Run:
        flags = {"method": "matching", "plugin": "matching", "network": NETWORK, **(config or {})}
        return run(train=split, options=MatchingOptions(**options), **flags)

    return make


@pytest.fixture
def synthesised() -> Callable[..., TensorFile]:
    """Return a function that synthesises in a folder of a name, or goes on there.

    It returns the first shard's finished file; options are the engine's.
    """

    def make(run: Run, folder: str = "run", **options: Any) -> TensorFile:
        run = replace(run, folder=run.folder.with_name(folder))
        objective = MatchingObjective(run)
        engine = Engine(run, objective, **options)
        engine.synthesise()
        return TensorFile(engine.final(objective.shards()[0]))

    return make


@pytest.fixture
def request_stop() -> Iterator[Callable[[], None]]:
    """Ask for a stop as the first Ctrl-C does; `interrupt._requested.clear()` takes it back."""
    yield interrupt._requested.set
    interrupt._requested.clear()


@pytest.fixture
def refused(tmp_path: Path, monkeypatch, capfd) -> Callable[..., str]:
    """Return a function that calls `ddkit distill` on a small run with more flags.

    The call must fail with one line, which is returned.
    """
    from ddkit_cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*more: str, method: str = "dc") -> str:
        flags = ["distill", "--method", method, "--threads", "1", "-o", "run"]
        flags += [] if "--network" in more else ["--network", NETWORK]
        monkeypatch.setattr(sys, "argv", ["ddkit", *flags, "--set", "updates=2", *more])
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
