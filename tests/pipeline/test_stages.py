"""Stages of a run: each plans its pool once, and those that work with the same pool do together."""

from dataclasses import replace

import pytest

from ddkit.config import RunConfig, StageConfig
from ddkit.labels import HardLabels
from ddkit.methods.options import MethodOptions, option
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.stages import Stages
from ddkit.pools import pool
from ddkit.pools.tasks import Member, MemberTask
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.objective import ImageObjective


class Still(ImageObjective):
    """Takes no step."""

    def loss(self, shard, leaves, step):
        raise AssertionError


class Options(MethodOptions):
    size: int = option(1, "of nothing")


@pytest.fixture
def planned(method, data):
    """Return the seeds of the runs that the pool hooks of "one" and "other" were called with."""
    seen = {}
    for name in ("one", "other"):
        seen[name] = calls = []

        def build(run, calls=calls):
            calls.append(run.config.seed)

            def train(context):
                network = run.network(run.generator("member"))
                yield 0, Member(network.state_dict(), "teacher")

            return [MemberTask("teacher", train)]

        method(
            name,
            method_config=lambda: Options,
            build_pool=build,
            synthesis_loss=lambda run, pool: Still(run),
            relabel=lambda run, pool, images: HardLabels(images.classes),
        )
    return seen


def configured(**fields) -> RunConfig:
    network = "convnet:depth=1:width=2"
    return RunConfig(method="one", plugin="one", ipc=1, seed=3, network=network, **fields)


def test_a_run_asks_for_its_pool_once(planned, tmp_path):
    pipeline.distill(configured(pool_seed=5), tmp_path / "run")
    assert planned == {"one": [5], "other": []}
    pipeline.distill(configured(pool_seed=5).model_copy(update={"ipc": 2}), tmp_path / "another")
    assert planned["one"] == [5, 5]


@pytest.mark.parametrize("named", [False, True], ids=["in the cache", "named"])
def test_a_run_opens_a_finished_pool_once(planned, tmp_path, monkeypatch, named):
    pipeline.distill(configured(), tmp_path / "run")
    folder = next(cache_folder("pools").iterdir())
    opened = []

    class Counted(TensorFile):
        def __init__(self, path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(pool, "TensorFile", Counted)
    stages = {"pool": folder.name} if named else {}
    other = StageConfig(plugin="other", options={"size": 1})
    config = configured(**stages, relabel_from=other if named else None)
    pipeline.distill(config.model_copy(update={"ipc": 2}), tmp_path / "another")
    assert [path.name for path in opened].count("teacher.safetensors") == 1


def test_stages_with_pools_of_their_own_ask_once_each(planned, tmp_path):
    other = StageConfig(plugin="other", options={"size": 1})
    pipeline.distill(configured(relabel_from=other), tmp_path / "run")
    assert planned == {"one": [0], "other": [0]}


def test_a_stage_has_the_options_of_its_plugin_and_of_its_pools(run, planned):
    config = configured(
        options={"size": 2}, pool_from=StageConfig(plugin="other", options={"size": 7})
    )
    stages = Stages(replace(run(), config=config))
    assert stages["synthesis"] is stages["synthesis"]
    assert stages["synthesis"].run.options == Options(size=2)
    assert stages["synthesis"].run.pool_options == Options(size=7)
    assert stages["synthesis"].pool_run.options == Options(size=7)
    assert stages["relabel"].plan is stages["synthesis"].plan
    assert planned == {"one": [], "other": [0]}
