"""What another process does of a run: it finds the same unit, or says why it cannot."""

import pytest

from ddkit.bench.config import read_config
from ddkit.bench.harness import Harness
from ddkit.bench.workers import measure_cell
from ddkit.data.access import check_unsealed
from ddkit.pipeline import stages as stage_pools
from ddkit.pipeline import work
from ddkit.pipeline.prepare import check_inputs, prepare
from ddkit.pipeline.stages import Stage
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import read_json, write_json
from ddkit.runtime.progress import Silent


@pytest.fixture
def begun(config_of, tmp_path):
    """Return a run that was begun, with the arguments that all its units share."""
    run = prepare(config_of("teddy", "iterations=2"), tmp_path / "run")
    run.config.save(run.folder / "config.toml")
    check_inputs(run)
    work._engine.cache_clear()
    return run, dict(run.job("job", "function").arguments)


def test_a_group_is_trained_in_the_drivers_folder(begun):
    run, common = begun
    plan = Stage(run, "synthesis").plan
    tasks, folder = plan.tasks, plan.folder
    names = [task.name for task in tasks]
    work.train_group(Silent(), **common, stage="synthesis", pool=str(folder), tasks=names)
    assert [(folder / f"{name}.safetensors").exists() for name in names] == [True]


def test_a_machine_that_would_train_another_pool_is_refused(begun):
    _, common = begun
    with pytest.raises(DdkitError, match=r"would train the pool teddy-\w+, not teddy-other: ddkit"):
        work.train_group(
            Silent(), **common, stage="synthesis", pool="/shared/teddy-other", tasks=["trajectory"]
        )


def test_a_shard_is_optimised_once_and_the_data_are_loaded_once(begun, monkeypatch):
    run, common = begun
    stage_pools.open_pool(run, "synthesis")
    loaded = []
    original = prepare
    monkeypatch.setattr(work, "prepare", lambda *a: loaded.append(1) or original(*a))
    finished = run.folder / "shards" / "shard-00002.safetensors"
    work.optimise_shard(Silent(), **common, snapshot_every=0, shard=2)
    assert list(finished.parent.iterdir()) == [finished]
    finished.write_text("by the worker that was lost")
    for shard in (0, 2):
        work.optimise_shard(Silent(), **common, snapshot_every=0, shard=shard)
    assert finished.read_text() == "by the worker that was lost"
    assert len(list(finished.parent.iterdir())) == 2
    assert loaded == [1]


def test_a_machine_with_other_data_is_refused(begun):
    run, common = begun
    stage_pools.open_pool(run, "synthesis")
    inputs = run.folder / "inputs.json"
    write_json(inputs, {**read_json(inputs), "data": "others"})
    with pytest.raises(DdkitError, match=r"the data of the run in .* changed"):
        work.optimise_shard(Silent(), **common, snapshot_every=0, shard=0)


def test_units_cannot_open_the_test_split(begun, monkeypatch):
    run, common = begun
    stage_pools.open_pool(run, "synthesis")
    monkeypatch.setattr(work, "prepare", lambda *a: check_unsealed("test"))
    with pytest.raises(DdkitError, match="the test split is closed"):
        work.optimise_shard(Silent(), **common, snapshot_every=0, shard=0)
    with pytest.raises(DdkitError, match="the test split is closed"):
        work.train_group(Silent(), **common, stage="synthesis", pool="", tasks=[])


def test_a_cell_that_this_machine_does_not_know_is_refused(tmp_path):
    bench = read_config(None, {"methods": ("random",)})
    Harness(bench, tmp_path)
    with pytest.raises(DdkitError, match="has no cell abc here: ddkit and its plugins must be"):
        measure_cell(
            Silent(),
            bench=bench.model_dump(mode="json"),
            folder=str(tmp_path),
            attempt="1",
            cell="abc",
        )


def test_a_unit_gets_what_it_can_be_found_by(begun):
    run, _ = begun
    job = run.job("pool", "somewhere:else", stage="relabel")
    assert (job.threads, job.gpu) == (1, False)
    assert job.arguments == {
        "config": run.config.model_dump(mode="json"),
        "folder": str(run.folder),
        "stage": "relabel",
    }
