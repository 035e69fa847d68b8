"""What a bench will take: nothing for what is done, pools once, and nothing is written."""

import json
from pathlib import Path

import pytest

from ddkit import MethodOptions, option
from ddkit.bench import forecast
from ddkit.bench.forecast import Forecast, Forecaster
from ddkit.evaluation import accuracy as evaluation
from ddkit.pipeline.estimate import Estimate
from ddkit.pools.tasks import Member, MemberTask

ESTIMATE = Estimate(
    pool_seconds=100.0,
    synthesis_seconds=20.0,
    relabel_seconds=1.0,
    peak_bytes=9000,
    pool_bytes=5000,
    image_bytes=640,
    label_bytes=40,
)


class Stepped(MethodOptions):
    steps_option = "rounds"
    rounds: int = option(2, "optimiser steps", stages=("synthesis",), ge=0)
    depth: int = option(1, "of the pool", stages=("pool",))


@pytest.fixture
def pooled(method, fading):
    """Install a method with a pool of one network, and steps that no pool depends on."""

    def tasks(run):
        def train(context):
            yield 0, Member(run.network(run.generator("member")).state_dict(), "teacher")

        return [MemberTask("one", train)]

    return method(
        "pooled",
        method_config=lambda: Stepped,
        build_pool=tasks,
        synthesis_loss=lambda run, pool: fading(run),
    )


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """Let every rehearsal say the same, and an epoch take two seconds; note who is rehearsed."""
    noted: list[str] = []

    def rehearse(config, data):
        noted.append(f"{config.method} {data.classes}")
        return ESTIMATE

    monkeypatch.setattr(forecast, "rehearse", rehearse)
    monkeypatch.setattr(Forecaster, "_epoch_seconds", lambda *rest: 2.0)
    return noted


@pytest.fixture
def foretold(config, folder, measured):
    """Return a function that forecasts a small bench."""
    return lambda *methods, **fields: list(
        Forecaster(config(*methods, **fields), folder).forecasts()
    )


def zero(found: Forecast) -> bool:
    return (found.figures, found.seconds, found.peak_bytes, found.disk_bytes) == (0, 0, 0, 0)


def test_a_cell_takes_what_was_rehearsed(foretold, pooled):
    (found,) = foretold(pooled)
    assert found.cell.method == "pooled"
    assert (found.pool_seconds, found.synthesis_seconds) == (100, 21)
    assert (found.peak_bytes, found.disk_bytes) == (9000, 5680)
    assert found.figures == 2  # the set and random images
    assert found.seconds == 121 + found.evaluation_seconds


def test_evaluations_grow_with_figures_epochs_and_seeds(foretold, pooled):
    assert foretold(pooled)[0].evaluation_seconds == 2 * 2 * 2 * 2.0
    assert foretold(pooled, evaluation_seeds=5)[0].evaluation_seconds == 2 * 2 * 5 * 2.0
    assert foretold(pooled, epochs=30)[0].evaluation_seconds == 2 * 30 * 2 * 2.0
    more = {"selection": "herding", "protocols": ("dsa", "plain", "own")}
    assert foretold(pooled, **more)[0].evaluation_seconds == (3 + 2 + 3) * 2 * 2 * 2.0


def test_protocols_take_their_own_epochs_where_the_bench_says_none(foretold, pooled):
    dsa, soft = (evaluation.protocol_for(name).recipe.epochs for name in ("dsa", "soft"))
    (found,) = foretold(pooled, epochs=None, protocols=("dsa", "own"))
    assert found.evaluation_seconds == (2 * dsa + 2 * soft) * 2 * 2.0


def test_what_is_done_costs_nothing(foretold, bench, pooled, measured):
    bench(pooled, seeds=2)
    first, second, third = foretold(pooled, seeds=3)
    assert zero(first)
    assert zero(second)
    assert (third.figures, third.synthesis_seconds) == (2, 21)
    assert third.pool_seconds == 0  # it is in the cache
    assert third.disk_bytes == 680
    assert measured == ["pooled 10"]


def test_finished_sets_are_evaluated_only(foretold, bench, pooled, measured):
    bench(pooled)
    (found,) = foretold(pooled, evaluation_seeds=4)
    assert (found.pool_seconds, found.synthesis_seconds, found.disk_bytes) == (0, 0, 0)
    assert found.evaluation_seconds > 0
    assert measured == []


def test_pools_are_counted_once_for_all_that_share_them(foretold, pooled, measured):
    variants = {
        "longer": {"method": "pooled", "settings": ["rounds=9"]},
        "deeper": {"method": "pooled", "settings": ["depth=2"]},
    }
    found = foretold(pooled, "longer", "deeper", variants=variants, ipc=(1, 2), seeds=2)
    assert [(f.cell.method, f.cell.ipc, f.cell.seed) for f in found if f.pool_seconds] == [
        ("pooled", 1, 0),
        ("deeper", 1, 0),
    ]
    assert sum(f.pool_seconds for f in found) == 200
    assert sum(f.disk_bytes for f in found) == 2 * 5000 + 12 * 680
    assert len(measured) == 6  # once for both seeds


def test_a_method_without_a_pool_trains_none(foretold):
    (found,) = foretold("random")
    assert (found.pool_seconds, found.disk_bytes) == (0, 680)


def test_a_time_budget_is_the_time_of_synthesis(foretold, bench, pooled, monkeypatch):
    found = foretold(pooled, "random", budget_minutes=2)
    assert [f.synthesis_seconds for f in found] == [121, 21]
    monkeypatch.setattr("ddkit.synthesis.engine.Engine.pace", lambda *rest: 10.0)
    assert bench(pooled, "random", budget_minutes=2).failed == []
    assert all(map(zero, foretold(pooled, "random", budget_minutes=2)))


def test_continual_learning_distils_each_step(foretold, bench, pooled, measured):
    task = {"task": "continual"}
    (found,) = foretold(pooled, **task)
    assert found.figures == 10
    assert (found.pool_seconds, found.synthesis_seconds) == (500, 5 * 21)
    assert measured == ["pooled 2"]  # all steps have two classes
    assert bench(pooled, **task).failed == []
    assert all(map(zero, foretold(pooled, **task)))


def test_an_epoch_is_measured_once_per_network_and_ipc(config, folder, monkeypatch):
    trained = []
    train = forecast.train_on

    def training(distilled, protocol, network, *rest):
        trained.append((len(distilled), network))
        return train(distilled, protocol, network, *rest)

    monkeypatch.setattr(forecast, "train_on", training)
    small = ("convnet:depth=1:width=2", "convnet:depth=1:width=4")
    found = list(Forecaster(config(networks=small, ipc=(1, 2), seeds=2), folder).forecasts())
    assert trained == [(10 * ipc, network) for ipc in (1, 2) for network in small for _ in range(2)]
    assert all(forecast.evaluation_seconds > 0 for forecast in found)


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_dry_run_writes_nothing_and_prints_a_table(benched, pooled, tmp_path):
    before = contents(tmp_path)
    code, out, err = benched("-m", "random,pooled", "--ipc", "1,2", "-o", "new", "--dry-run")
    assert (code, err) == (0, "")
    assert contents(tmp_path) == before
    for title in ("cell", "figures", "synthesis", "evaluation", "memory", "disk"):
        assert title in out
    for name, ipc in (("random", 1), ("pooled", 2)):
        assert f"{name} · digits · ipc {ipc} · seed 0" in out
    assert "with 1 worker(s)" in out
    assert "Traceback" not in out


def test_a_dry_run_beside_a_finished_bench_changes_nothing(benched, measured, tmp_path):
    assert benched("-m", "random", "-o", "bench")[0] == 0
    before = contents(tmp_path)
    code, out, _ = benched("-m", "random", "--seeds", "2", "-o", "bench", "--dry-run", "--json")
    assert code == 0
    assert contents(tmp_path) == before
    first, second = json.loads(out)
    assert first["cell"] == {"method": "random", "data": "digits", "ipc": 1, "seed": 0}
    assert (first["figures"], first["seconds"], first["disk_bytes"]) == (0, 0, 0)
    assert second["cell"]["seed"] == 1
    assert second["seconds"] == second["synthesis_seconds"] + second["evaluation_seconds"] > 0
    assert second["peak_bytes"] == 9000


def test_what_is_wrong_with_a_dry_run_is_one_line(benched, tmp_path):
    before = contents(tmp_path)
    code, _, err = benched("-m", "tesla", "--set", "tesla.expert_epochs=30", "--dry-run")
    assert code == 1
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert contents(tmp_path) == before
