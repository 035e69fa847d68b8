"""Runs that name a finished pool: it serves every stage, and what does not fit is refused."""

import json
import shutil

import pytest
import torch

from ddkit import load, networks
from ddkit.config import RunConfig, StageConfig, load_config
from ddkit.data.options import DataOptions
from ddkit.distilled.dataset import ARTIFACT
from ddkit.labels import SoftLabels
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline.prepare import baseline_config, prepare
from ddkit.pipeline.resolve import Request, resolve, with_relabel
from ddkit.pipeline.stages import Stage
from ddkit.pools import named as named_pool
from ddkit.pools.imported import import_replay
from ddkit.pools.pool import Pool
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.cost import read_cost
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.objective import ImageObjective

SPEC = "convnet:depth=1:width=4"
BASE = {"method": "toy", "plugin": "toy", "ipc": 1, "network": SPEC, "trust_base": True}


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports one expert of two epochs as a pool, and returns its name."""

    def make(name: str = "mine", *, seed: int = 0, network: str = SPEC, **data) -> str:
        options = DataOptions(**data)
        channels, side = 1, options.resize or 8
        classes = 10 if options.classes is None else len(options.classes)
        expert = [
            [
                parameter.detach()
                for parameter in networks.create(
                    network,
                    classes=classes,
                    shape=(channels, side, side),
                    generator=torch.Generator().manual_seed(seed + epoch),
                ).parameters()
            ]
            for epoch in range(3)
        ]
        torch.save([expert], tmp_path / "buffer.pt")
        constants = {} if "space" in data else {"mean": [0.25], "std": [0.5]}
        import_replay([tmp_path / "buffer.pt"], options, network, name=name, **constants)
        return name

    return make


class Stills(ImageObjective):
    """Images that stay where they start."""

    steps = 0

    def loss(self, shard, leaves, step):
        raise NotImplementedError


@pytest.fixture
def seen(method) -> dict:
    """Install "toy", which labels with the pool; return what its hooks saw of run and pool."""
    seen = {}

    def synthesis_loss(run, pool):
        seen["synthesis"] = (run.space, pool)
        return Stills(run)

    def relabel(run, pool, images):
        seen["relabel"] = (run.space, pool)
        inputs = run.space.encode(images.images.float() / 255)
        with torch.no_grad():
            return SoftLabels(pool.network(len(pool) - 1)(inputs), 1.0)

    def build_pool(run):
        raise AssertionError("no pool is trained beside a named one")

    method("toy", synthesis_loss=synthesis_loss, relabel=relabel, build_pool=build_pool)
    return seen


def config(**fields) -> RunConfig:
    return RunConfig.model_validate({**BASE, **fields})


def refusal(folder, **fields) -> str:
    """Return the one line with which a run is refused before it has a folder."""
    with pytest.raises(DdkitError) as caught:
        pipeline.distill(config(**fields), folder)
    assert not folder.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_named_pool_serves_every_stage_with_its_own_input_space(seen, imported, tmp_path):
    name = imported()
    artifact = pipeline.distill(config(pool=name), tmp_path / "run")
    folder = cache_folder("pools") / name
    for stage in ("synthesis", "relabel"):
        space, pool = seen[stage]
        assert pool.folder == folder
        assert (space.mean.tolist(), space.std.tolist()) == ([0.25], [0.5])
    distilled = load(artifact)
    assert (distilled.space.mean.tolist(), distilled.space.std.tolist()) == ([0.25], [0.5])
    assert [path.name for path in cache_folder("pools").iterdir()] == [name]


def test_the_random_baseline_is_labelled_by_the_same_pool(seen, imported, tmp_path):
    run = config(pool=imported())
    own = load(pipeline.distill(run, tmp_path / "run"))
    seen.clear()
    baseline = load(pipeline.distill(baseline_config(run), tmp_path / "baseline"))
    assert seen["relabel"][1].folder == cache_folder("pools") / "mine"
    # "toy" moves no image: so both sets are the same, down to the labels
    assert torch.equal(baseline.labels.logits, own.labels.logits)
    assert baseline.space.fingerprint() == own.space.fingerprint()


def test_a_finished_set_is_labelled_anew_by_the_same_pool(seen, imported, tmp_path):
    run = config(pool=imported(), method="random", plugin="random")
    pipeline.distill(run, tmp_path / "run")
    work = prepare(with_relabel(run, "toy", []), tmp_path)
    images = load(tmp_path / "run").synthetic()
    pipeline.relabel_into(Stage(work, "relabel"), images, tmp_path / "other.safetensors")
    assert seen["relabel"][1].folder == cache_folder("pools") / "mine"
    assert load(tmp_path / "other.safetensors").space.mean.tolist() == [0.25]


def test_a_pool_is_named_by_its_folder_too(seen, imported, tmp_path, monkeypatch):
    shutil.move(cache_folder("pools") / imported(), tmp_path / "elsewhere")
    pipeline.distill(config(pool=str(tmp_path / "elsewhere")), tmp_path / "run")
    assert seen["relabel"][1].folder == tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    asked = resolve(Request("toy", {"pool": "./elsewhere"}))
    assert asked.pool == str(tmp_path / "elsewhere")  # to be found from another folder later


def test_a_cached_name_wins_over_a_folder_of_that_name(imported, tmp_path, monkeypatch):
    name = imported()
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert named_pool.folder_of(name) == cache_folder("pools") / name
    assert named_pool.folder_of(f"./{name}").resolve() == tmp_path / name
    assert resolve(Request("random", {"pool": name})).pool == name


def test_training_seconds_of_an_imported_pool_are_unknown(seen, imported, tmp_path):
    name = imported()
    pipeline.distill(config(pool=name), tmp_path / "run")
    assert "pool_seconds" in read_cost(tmp_path / "run")
    assert "pool_training_seconds" not in read_cost(tmp_path / "run")
    (cache_folder("pools") / name / "cost.json").write_text('{"training_seconds": 3.5}')
    pipeline.distill(config(pool=name), tmp_path / "again")
    assert read_cost(tmp_path / "again")["pool_training_seconds"] == 3.5


def test_a_pool_that_is_missing_or_not_finished_is_refused(seen, imported, tmp_path):
    imported()
    assert refusal(tmp_path / "run", pool="mien") == (
        "unknown pool 'mien': did you mean 'mine'? (see `ddkit pool list`, or name a folder)"
    )
    nowhere = str(tmp_path / "nowhere")
    assert refusal(tmp_path / "run", pool=nowhere) == f"--pool {nowhere}: there is no such folder"
    (cache_folder("pools") / "mine" / "pool.json").unlink()
    line = refusal(tmp_path / "run", pool="mine")
    assert (
        "has no pool.json: it is not a pool, or not finished; let the run that trains it finish"
        in line
    )


def test_a_pool_with_a_broken_description_or_a_missing_file_is_refused(seen, imported, tmp_path):
    folder = cache_folder("pools") / imported()
    (folder / "expert-0000.safetensors").rename(tmp_path / "expert")
    assert "no such file" in refusal(tmp_path / "run", pool="mine")
    description = json.loads((folder / "pool.json").read_text())
    del description["data"]
    (folder / "pool.json").write_text(json.dumps(description))
    assert "pool.json lacks 'data'" in refusal(tmp_path / "run", pool="mine")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"classes": "0,1,2"},
            "the pool 'mine' is for 10 classes (digits), but this run has 3 (digits-3classes): "
            "use the pool's --data and --classes",
        ),
        (
            {"resize": 12},
            "the pool 'mine' is for images of 1×8×8 (digits), but this run has 1×12×12 "
            "(digits-12): use the pool's --data and --resize",
        ),
        (
            {"holdout": 0.2},
            "the pool 'mine' was trained on other images or labels (digits) than this run has "
            "(digits): use the pool's --data, --classes, --detail, --test-share, --holdout, "
            "--imbalance and --pool-seed",
        ),
        (
            {"space": "zca"},
            "the pool 'mine' was trained on standard inputs, but this run has zca: use --space "
            "standard",
        ),
    ],
)
def test_a_pool_for_something_else_is_refused(seen, imported, tmp_path, data, line):
    assert refusal(tmp_path / "run", pool=imported(), data=data) == line


def test_a_whitened_pool_wants_a_whitened_run(seen, imported, tmp_path):
    name = imported(space="zca")
    assert refusal(tmp_path / "run", pool=name) == (
        "the pool 'mine' was trained on zca inputs, but this run has standard: use --space zca"
    )
    pipeline.distill(config(pool=name, data={"space": "zca"}), tmp_path / "run")
    stored = Pool.open(cache_folder("pools") / name).space().fingerprint()
    assert seen["synthesis"][0].fingerprint() == stored


def test_the_network_of_a_pool_from_a_file_is_not_run_unasked(seen, imported, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "def net(classes, shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    name = imported(network=f"{path}:net")
    path.write_text(f"{path.read_text()}open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    assert resolve(Request("toy", {"pool": name})).network == "convnet"
    line = refusal(tmp_path / "run", pool=name)
    assert f"if you trust that file, use --network {path}:net" in line
    assert "with the file as it was" in refusal(tmp_path / "run", pool=name, network=f"{path}:net")
    assert not (tmp_path / "sprung").exists()


def test_going_on_with_another_pool_of_that_name_is_refused(seen, imported, tmp_path):
    run, folder = config(pool=imported()), tmp_path / "run"
    pipeline.distill(run, folder)
    (folder / ARTIFACT).unlink()
    pipeline.distill(run, folder)  # with the same one it goes on
    (folder / ARTIFACT).unlink()
    shutil.rmtree(cache_folder("pools") / "mine")
    imported(seed=7)
    with pytest.raises(DdkitError, match=r"the pool of the run in .* changed since it began"):
        pipeline.distill(run, folder)


def test_two_answers_to_where_the_pool_comes_from_are_refused(imported):
    imported()
    line = "--pool names a finished pool, --pool-from and --set pool.KEY=… say how one is trained"
    both = Request("teddy", {"pool": "mine"}, sources={"pool": "teddy"})
    options = Request("teddy", {"pool": "mine"}, settings=["pool.lr=3"])
    for request in (both, options):
        with pytest.raises(DdkitError, match="leave one of them out") as caught:
            resolve(request)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="leave one of them out"):
        config(pool="mine", pool_from=StageConfig(plugin="teddy"))


def test_a_run_that_names_no_network_has_the_pools(imported, tmp_path):
    imported()
    preset = tmp_path / "preset.toml"
    preset.write_text('network = "resnet18"\n')
    for choice in (None, str(preset)):
        assert resolve(Request("teddy", {"pool": "mine"}, preset=choice)).network == SPEC
    assert resolve(Request("teddy", {"pool": "mine", "network": "vgg11"})).network == "vgg11"


def test_a_configuration_with_a_pool_is_read_as_it_was_written(tmp_path):
    for pool in ("mine", None):
        config(pool=pool).save(tmp_path / "config.toml")
        assert load_config(tmp_path / "config.toml") == config(pool=pool)
