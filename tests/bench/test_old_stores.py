"""Stores of version 1, which kept accuracies apart, report as before, and nothing is mixed."""

import json
import sqlite3

import pytest

from ddkit.bench.page.html import render
from ddkit.bench.results import EARLIER, read_results
from ddkit.bench.store import NAME, Store
from ddkit.config import RunConfig
from ddkit.evaluation.units import VERSION

SCHEMA = """
CREATE TABLE entries (
    kind TEXT NOT NULL, key TEXT NOT NULL, about TEXT NOT NULL, result TEXT, error TEXT,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (kind, key));
CREATE TABLE accuracies (
    evaluation TEXT NOT NULL, seed INTEGER NOT NULL, accuracy REAL NOT NULL,
    PRIMARY KEY (evaluation, seed));
PRAGMA user_version = 1;
"""
PLACE = {"data": "digits", "network": "n"}
ABOUT = PLACE | {"method": "m", "ipc": 1, "protocol": "dsa", "recipe": "", "settings": "s"}
REACHED = {"labels": "soft", "learning_rate": 0.03, "seconds": 6.0, "peak_bytes": 50}
REACHED |= {"device": "a CPU", "precision": "fp32"}


@pytest.fixture
def old(folder):
    """Write a store of version 1: a set and random images of two seeds, and all real data."""
    folder.mkdir()
    with sqlite3.connect(folder / NAME) as database:
        database.executescript(SCHEMA)

        config = RunConfig(method="m", plugin="random", ipc=1).model_dump(mode="json")

        def put(kind, key, about, result):
            row = (kind, key, json.dumps(about), json.dumps(result))
            database.execute("INSERT INTO entries (kind, key, about, result) VALUES (?,?,?,?)", row)

        def evaluation(key, *accuracies):
            put("evaluation", key, {"tuned": True}, REACHED)
            rows = [(key, seed, value) for seed, value in enumerate(accuracies)]
            database.executemany("INSERT INTO accuracies VALUES (?, ?, ?)", rows[::-1])
            return {"evaluation": key}

        for seed in (0, 1):
            run = {"image_bytes": 640, "label_bytes": 40, "cost": {}, "labels": "soft"}
            run |= {"folder": f"runs/{seed}", "config": config}
            put("set", f"run {seed}", {}, run)
            for role, first in (("set", 0.5), ("random", 0.4)):
                about = ABOUT | {"seed": seed, "role": role}
                result = evaluation(f"{role} {seed}", first, first + 0.1 + seed / 10)
                put("figure", f"{role} {seed}", about, result | {"runs": [f"run {seed}"]})
        put("figure", "no labels", ABOUT | {"seed": 0, "role": "set", "protocol": "l1"}, None)
        put("real", "real", PLACE, evaluation("all real data", 0.9, 0.8))
    database.close()
    return folder


def add(store, role, accuracies, seed=0):
    """Store a figure as a bench does today."""
    reached = REACHED | {"accuracies": accuracies, "tuned": False, "version": VERSION}
    about = ABOUT | {"seed": seed, "role": role}
    store.put("figure", f"{role} {seed}", about, {"evaluation": reached, "runs": [f"run {seed}"]})


def test_an_old_store_shows_its_figures_and_stays_as_it_is(old):
    before = (old / NAME).read_bytes()
    store = Store(old, create=False)
    results = read_results(store)
    (row,) = results.rows
    assert row.recipe == ""
    assert row.accuracy.mean == pytest.approx((0.55 + 0.6) / 2)
    assert (row.accuracy.sets, row.accuracy.networks) == (2, 2)
    assert row.over_random == pytest.approx(0.1)
    assert row.real.mean == pytest.approx(0.85)
    assert (row.labels, row.learning_rates, row.tuned) == ("soft", (0.03,), True)
    assert row.seconds["evaluation"] == pytest.approx(12 / 4)
    assert "a CPU" in render(store, results)
    assert (old / NAME).read_bytes() == before


def test_old_figures_are_not_mixed_with_new_ones(old):
    store = Store(old)
    add(store, "set", [0.7, 0.7])
    later, earlier = read_results(store).rows
    assert (later.recipe, earlier.recipe) == ("", EARLIER)
    assert later.accuracy.mean == 0.7
    assert (later.random, later.real) == (None, None)
    assert later.over_random is None
    assert earlier.accuracy.mean == pytest.approx(0.6)  # seed 1 is as it was
    assert earlier.real.mean == pytest.approx(0.85)
    for role in ("set", "random"):
        for seed in (0, 1):
            add(store, role, [0.7, 0.7], seed)
    assert [row.recipe for row in read_results(store).rows] == [""]


def test_old_figures_are_made_anew_by_a_bench_that_goes_on(bench, method, work):
    done = bench(method(), real=True)
    known = done.accuracies()
    for kind in ("figure", "real"):
        for entry in done.store.all(kind):
            done.store.put(kind, entry.key, entry.about, {"evaluation": "old", "runs": []})
    work.clear()
    assert bench("toy", real=True).accuracies() == known
    assert not work  # the evaluation's own store has them
