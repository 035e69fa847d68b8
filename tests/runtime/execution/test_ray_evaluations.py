"""Evaluations on Ray: each seed a unit, the figures those of one process."""

import pytest

from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import evaluate as comparison
from ddkit.runtime.progress import Silent

pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
def test_seeds_on_ray_reach_what_they_reach_here(config_of, on_ray, tmp_path, monkeypatch):
    config = config_of("teddy", "iterations=1", ipc=1)

    def compared(**options):
        monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / ("ray" if options else "here")))
        rows = comparison.compare(
            artifact,
            protocols=["dsa", "soft"],
            networks=None,
            seeds=range(3),
            progress=Silent(),
            recipe={"epochs": 3},
            real=False,
            **options,
        )
        return [(row.title, row.evaluation.protocol, row.evaluation.accuracies) for row in rows]

    monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / "here"))
    artifact = pipeline.distill(config, tmp_path / "run")
    here = compared()
    there = compared(executor=on_ray)
    assert there == here
    assert len(here) == 4  # the set and random images, under two protocols
    kept = [
        path
        for path in (tmp_path / "ray" / "evaluations").glob("*.json")
        if path.name != "settled.json"
    ]
    assert len(kept) == 4 * 3
