"""What a run takes is known before: batches of real images and loops at their true size."""

import pytest

from ddkit.config import RunConfig
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.plan import plan
from ddkit.pipeline.rehearse import Rehearsal, rehearse
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.cost import read_cost
from ddkit.synthesis.engine import Engine

DIGITS = Data(1437, 10, (1, 8, 8))


def configured(method: str, *settings: str, **common) -> RunConfig:
    flags = {"ipc": 2, "threads": 1, "network": "convnet:depth=2:width=8", **common}
    return resolve(Request(method, flags, {}, ["updates=2", "batch_real=32", *settings], "none"))


@pytest.mark.parametrize("method", ["dc", "dm"])
def test_peak_memory_is_that_of_the_run(method, tmp_path):
    config = configured(method)
    pipeline.distill(config, tmp_path / "run")
    found = rehearse(config, DIGITS)
    assert found.pool_bytes == found.pool_seconds == 0
    peak = read_cost(tmp_path / "run")["synthesis_peak_bytes"]
    assert found.peak_bytes == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize(("images", "batch"), [(1000, 30), (200, 20)])
def test_a_rehearsed_batch_is_as_large_as_that_of_the_run(tmp_path, images, batch):
    data = Data(images, 10, (1, 8, 8))
    work = Rehearsal(configured("dc", "batch_real=30"), data, tmp_path).engine.objective
    drawn = [work._drawn("real images", work.shards()[0], 0, label, 30) for label in range(10)]
    assert [len(rows) for rows in drawn] == [batch] * 10


def test_plans_of_large_sets_have_the_loops_of_the_whole_run(monkeypatch):
    loops = []

    def pace(engine: Engine, steps: int, seconds: float) -> float:
        options = engine.objective.options
        loops.append((engine.run.ipc, options.outer_loop, options.inner_epochs))
        return 0.5

    monkeypatch.setattr(Engine, "pace", pace)
    config = configured("dc", "updates=0", "batch_real=4", ipc=50)
    found = plan(config, DIGITS)
    assert found.synthesis_seconds == pytest.approx(0.5 * 50_000)
    assert {ipc for ipc, _, _ in loops} == {5, 10}
    assert {(outer, inner) for _, outer, inner in loops} == {(50, 10)}
