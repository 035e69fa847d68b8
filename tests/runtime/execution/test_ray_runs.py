"""Runs on Ray end in the bytes of runs here, also where machines are lost on the way."""

import threading
import time
from pathlib import Path

import pytest

from ddkit.bench.config import read_config
from ddkit.bench.store import Store
from ddkit.bench.workers import run_units, run_workers
from ddkit.runtime import interrupt
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.progress import Silent

pytestmark = pytest.mark.timeout(180)


def when_shards_are_begun(count: int, folder: Path, then) -> threading.Thread:
    """Do something once so many shards have a checkpoint."""

    def wait():
        while len(list(folder.glob("run/shards/*.checkpoint.safetensors"))) < count:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("method", "settings", "common"),
    [
        ("teddy", (), {}),
        ("teddy", ("pool=post", "members=2", "finetune_epochs=0.1", "prune_ratio=0.25"), {}),
        ("apm", (), {"groups": 2}),
    ],
    ids=["prior", "post", "apm"],
)
def test_a_run_on_ray_ends_in_the_bytes_of_a_run_here(
    made_by, config_of, on_ray, method, settings, common
):
    config = config_of(method, *settings, **common)
    expected = made_by("here", config)
    assert made_by("ray", config, executor=on_ray) == expected
    shards = {name.split()[0] for name in expected if name.startswith("shard-")}
    assert len(shards) == (2 if method == "apm" else 4)
    assert any(name.startswith("cache/pools") for name in expected)


def test_a_machine_that_is_killed_in_the_middle_changes_no_byte(
    made_by, long_run, on_ray, cluster, tmp_path
):
    config, expected = long_run

    def kill():  # two shards are in the middle then, whatever was finished before
        cluster.remove_node(min(cluster.worker_nodes, key=str), allow_graceful=False)

    killer = when_shards_are_begun(2, tmp_path / "ray", kill)
    try:
        found = made_by("ray", config, executor=on_ray)
        killer.join(timeout=1)
        assert not killer.is_alive()
        assert len(cluster.worker_nodes) == 1
        assert found == expected
    finally:
        while len(cluster.worker_nodes) < 2:
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)


@pytest.mark.slow
def test_a_run_that_was_stopped_on_ray_goes_on_here_and_ends_in_the_same_bytes(
    made_by, long_run, on_ray, tmp_path, request_stop
):
    config, expected = long_run
    stopper = when_shards_are_begun(1, tmp_path / "ray", request_stop)
    with pytest.raises(Stopped):
        made_by("ray", config, executor=on_ray)
    stopper.join()
    folder = tmp_path / "ray" / "run"
    assert list(folder.glob("shards/*.checkpoint.safetensors"))
    assert not (folder / "distilled.safetensors").exists()
    interrupt._requested.clear()
    assert made_by("ray", config) == expected


def test_a_shard_that_diverges_on_ray_is_one_line(made_by, config_of, on_ray):
    config = config_of("apm", "lr_images=1e30", groups=2)
    with pytest.raises(DdkitError) as here:
        made_by("here", config)
    with pytest.raises(DdkitError) as there:
        made_by("ray", config, executor=on_ray)
    assert "of shard" in str(there.value)
    assert "\n" not in str(there.value)
    assert str(here.value).split(" of shard")[0] == str(there.value).split(" of shard")[0]


def test_a_machine_that_lacks_the_folders_says_so(made_by, config_of, on_ray, monkeypatch):
    monkeypatch.setattr(Path, "cwd", lambda: Path("/not/shared"))
    with pytest.raises(DdkitError, match="has no folder /not/shared: all machines must share"):
        made_by("ray", config_of("teddy"), executor=on_ray)


def test_cells_of_a_bench_on_ray_give_the_figures_of_cells_here(on_ray, tmp_path, monkeypatch):
    said = {
        "methods": ("random", "herding"),
        "network": "convnet:depth=2:width=4",
        "seeds": 2,
        "networks": ("convnet:depth=2:width=4",),
        "protocols": ("dsa",),
        "epochs": 3,
        "evaluation_seeds": 2,
        "selection": "none",
        "real": False,
        "threads": 1,
        "variants": {"herding": {"method": "herding", "settings": ["features=pixels"]}},
    }
    bench = read_config(None, said)
    found = []
    for name in ("here", "ray"):
        monkeypatch.setenv("DDKIT_CACHE", str(tmp_path / name / "cache"))
        folder = tmp_path / name / "bench"
        failed = (
            run_workers(bench, folder, 1, Silent())
            if name == "here"
            else run_units(bench, folder, on_ray, Silent())
        )
        assert failed == []
        store = Store(folder)
        assert len(store.all("cell")) == 4
        found.append(
            {e.key: e.result["evaluation"]["accuracies"] for e in store.evaluated("figure")}
        )
    assert found[0] == found[1] != {}
