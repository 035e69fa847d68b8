"""An APM run on digits, small enough for tests, its flags, and a way to ask for a stop."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddkit import Run, interrupt, pipeline, stage_pools
from ddkit.plugins import Plugin
from ddkit.resolve import Request, resolve
from ddkit.storage import TensorFile
from ddkit.synthesis import Engine

NETWORK = "convnet:depth=2:width=8"
SMALL = (
    "teachers=2", "train_epochs=2", "train_batch=256", "together=1", "rounds=3",
    "student_epochs=4", "checkpoints=2", "lr_images=5", "evaluation_epochs=4",
)  # fmt: skip


@pytest.fixture
def apm_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a function that prepares an APM run on digits, for one stage."""
    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "cache"))

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
        return pipeline.prepare(resolve(request), tmp_path / "run").for_stage(stage)

    return make


@pytest.fixture
def synthesised() -> Callable[..., TensorFile]:
    """Return a function that synthesises in a folder of a name, or goes on there.

    It returns the first shard's finished file; options are the engine's.
    """

    def make(run: Run, folder: str = "run", **options: Any) -> TensorFile:
        run = replace(run, folder=run.folder.with_name(folder))
        objective = Plugin("apm").synthesis_loss(run, stage_pools.open_pool(run, "synthesis"))
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
def refused(tmp_path, monkeypatch, capfd) -> Callable[..., str]:
    """Return a function that calls `ddkit distill --method apm` on a small run with more flags.

    The call must fail with one line, which is returned.
    """
    from ddkit_cli.main import main

    monkeypatch.chdir(tmp_path)
    flags = ["distill", "--method", "apm", "--network", NETWORK, "--threads", "1"]
    flags += [part for setting in SMALL for part in ("--set", setting)]

    def call(*more: str) -> str:
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
