"""What a rehearsal on made-up images says of a run, against the run itself."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ddkit import DdkitError, ImageObjective, SoftLabels
from ddkit.config import RunConfig
from ddkit.data.sources import load as sources
from ddkit.distilled.dataset import load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import rehearse as rehearsal
from ddkit.pipeline.estimate import Data, Estimate
from ddkit.pipeline.rehearse import Rehearsal, rehearse
from ddkit.pipeline.resolve import Request, resolve, with_relabel
from ddkit.pools.cache import size
from ddkit.pools.tasks import Member, MemberTask
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.cost import read_cost
from ddkit.synthesis.engine import Engine

TEDDY = (
    "unit=step",
    "first=1",
    "last=5",
    "every=1",
    "train_batch=256",
    "recalibrate=200",
    "iterations=4",
    "teachers=2",
    "label_epochs=7",
)
POST = (*TEDDY, "pool=post", "members=5", "finetune_epochs=0.5", "finetune_batch=256")
TESLA = (
    "experts=3",
    "train_epochs=4",
    "together=1",
    "max_start_epoch=2",
    "expert_epochs=1",
    "student_steps=3",
    "iterations=4",
    "lr_images=10",
)
APM = (
    "teachers=3",
    "train_epochs=2",
    "together=1",
    "rounds=4",
    "student_epochs=4",
    "checkpoints=2",
    "lr_images=5",
)
PLAIN = "convnet:depth=2:width=32"
NORMED = f"{PLAIN}:norm=batch"


def configured(method: str, *settings: str, data=None, **common) -> RunConfig:
    network = NORMED if method == "teddy" else PLAIN
    flags = {"ipc": 2, "threads": 1, "network": network, "device": "cpu", **common}
    return resolve(Request(method, flags, data or {}, settings, "none"))


CONFIGS = {
    "teddy prior": ("teddy", *TEDDY),
    "teddy post": ("teddy", *POST),
    "tesla": ("tesla", *TESLA),
    "apm": ("apm", *APM),
    "herding": ("herding", "train_epochs=3"),
    "random": ("random",),
}


def rehearsed(config: RunConfig) -> Estimate:
    return rehearse(config, Data.of(sources.load(config.data, "train")))


@dataclass
class Done:
    """What a run really took."""

    image_bytes: int
    label_bytes: int
    label_kind: str
    pool_bytes: int
    peak_bytes: int


def done(config: RunConfig, folder: Path) -> Done:
    artifact = load(pipeline.distill(config, folder))
    pools = sum(size(path) for path in cache_folder("pools").glob("*"))
    return Done(
        artifact.image_bytes,
        artifact.labels.bytes,
        artifact.labels.kind,
        pools,
        read_cost(folder)["synthesis_peak_bytes"],
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_bytes_and_memory_are_those_of_the_run(name, tmp_path):
    config = configured(*CONFIGS[name])
    found, real = rehearsed(config), done(config, tmp_path / "run")
    assert found.image_bytes == real.image_bytes
    assert found.label_bytes == real.label_bytes
    assert found.pool_bytes == pytest.approx(real.pool_bytes, rel=0.02)
    assert found.peak_bytes == pytest.approx(real.peak_bytes, rel=0.1)
    assert found.disk_bytes == found.pool_bytes + found.image_bytes + found.label_bytes


@pytest.mark.parametrize("kept", ["0", "1", "3", "6", "11", "auto"])
def test_graphs_of_a_long_inner_loop_that_are_kept_count(kept, tmp_path, monkeypatch):
    def pace(engine, steps, seconds):
        options = engine.objective.options
        return 2 * options.student_steps - 0.5 * min(options.kept_graphs, options.student_steps)

    monkeypatch.setattr(Engine, "pace", pace)
    config = configured("tesla", *TESLA, "student_steps=11", f"kept_graphs={kept}")
    few = Rehearsal(config, Data(1437, 10, (1, 8, 8)), tmp_path / "few")
    whole = Rehearsal(config, Data(1437, 10, (1, 8, 8)), tmp_path / "whole")
    seconds, peak = few.step
    _, real = whole.engine.first_step()
    assert peak == pytest.approx(real, rel=0.1)
    assert seconds == pytest.approx(22 - 0.5 * (11 if kept == "auto" else int(kept)))


def test_images_that_stay_noise_are_no_valid_pixels(tmp_path):
    config = configured("random", init="noise")
    assert (
        rehearsed(config).image_bytes == done(config, tmp_path / "run").image_bytes == 20 * 64 * 4
    )


def test_images_are_stored_as_the_run_says(tmp_path):
    config = configured("tesla", *TESLA, store="float16")
    assert rehearsed(config).image_bytes == 20 * 64 * 2


class Fading(ImageObjective):
    steps = 2

    def loss(self, shard, leaves, step):
        return leaves["images"].square().mean()


def small_pool(run):
    def train(context):
        yield 0, Member(run.network(run.generator("member")).state_dict(), "teacher")

    return [MemberTask("one", train)]


def test_a_method_that_says_nothing_of_its_work_is_rehearsed_as_it_is(method, tmp_path):
    name = method(
        build_pool=small_pool,
        synthesis_loss=lambda run, pool: Fading(run),
        relabel=lambda run, pool, images: SoftLabels(torch.zeros(len(images), len(run.classes))),
    )
    config = configured(name)
    found, real = rehearsed(config), done(config, tmp_path / "run")
    assert (found.image_bytes, found.label_bytes) == (real.image_bytes, real.label_bytes)
    assert found.pool_bytes == pytest.approx(real.pool_bytes, rel=0.02)
    assert found.peak_bytes == pytest.approx(real.peak_bytes, rel=0.1)
    assert found.seconds > 0


@pytest.fixture
def pace(monkeypatch) -> None:
    """Let a step of any method take half a second."""
    monkeypatch.setattr(Engine, "pace", lambda engine, steps, seconds: 0.5)


def test_time_is_that_of_all_steps_of_all_shards(pace):
    assert rehearsed(configured("teddy", *TEDDY)).synthesis_seconds == 4 * 0.5
    assert rehearsed(configured("teddy", *TEDDY, "iterations=8")).synthesis_seconds == 8 * 0.5
    cut = configured("teddy", *TEDDY, "batch_size=5", ipc=3)
    assert rehearsed(cut).synthesis_seconds == 6 * 4 * 0.5
    assert rehearsed(configured("tesla", *TESLA, groups=2)).synthesis_seconds == 2 * 4 * 0.5
    assert rehearsed(configured("random")).synthesis_seconds == 0


def test_the_time_of_a_pool_and_of_labels_grows_with_their_work(pace, monkeypatch):
    monkeypatch.setattr(rehearsal, "_timed", lambda work: (work(), 3.0))
    data = Data(1024, 10, (1, 8, 8))
    found = rehearse(configured("apm", *APM), data)
    # in images seen: 3 teachers × 2 epochs × 1024 images, beside 1 × 2 × 128 in small batches
    assert found.pool_seconds == 3.0 * (3 * 2 * 1024) / (1 * 2 * 128)
    assert found.relabel_seconds == 3.0 * 3
    assert found.seconds == found.pool_seconds + found.synthesis_seconds + found.relabel_seconds


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_is_left_and_no_finished_pool_is_used_or_touched(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(tmp_path)
    config = configured("apm", *APM)
    rehearsed(config)
    assert contents(tmp_path) == {}
    pipeline.distill(config, tmp_path / "run")
    before = contents(tmp_path)
    assert rehearsed(config).pool_seconds > 0
    assert contents(tmp_path) == before
    assert list(scratch.iterdir()) == []


def test_a_named_pool_is_used_as_it_is(tmp_path, monkeypatch):
    pipeline.distill(configured("apm", *APM), tmp_path / "run")
    (folder,) = cache_folder("pools").iterdir()
    before = contents(folder)
    config = configured("apm", *APM, pool=str(folder))
    monkeypatch.setattr(rehearsal, "train_pool", lambda *rest: pytest.fail("a pool was trained"))
    data = Data.of(sources.load(config.data, "train"))
    opened = Rehearsal(config, data, tmp_path / "small").synthesis_pool.pool
    assert opened.folder == folder
    assert len(opened) == 3
    found = rehearse(config, data)
    assert (found.pool_seconds, found.pool_bytes) == (0, 0)
    assert contents(folder) == before


@pytest.mark.parametrize(("images", "each"), [(600, 1), (5000, 3)])
def test_there_may_be_more_classes_than_made_up_images(method, tmp_path, images, each):
    name = method(
        synthesis_loss=lambda run, pool: Fading(run),
        relabel=lambda run, pool, images: SoftLabels(torch.zeros(len(images), len(run.classes))),
    )
    config, data = configured(name, ipc=each), Data(images, 600, (1, 4, 4))
    assert len(Rehearsal(config, data, tmp_path).run.train) == 128
    found = rehearse(config, data)
    assert found.image_bytes == 600 * each * 16
    assert found.label_bytes == 600 * each * 600 * 4


def test_there_may_be_more_images_per_class_than_made_up_ones():
    config = configured("teddy", *TEDDY, "iterations=1", "labels=hard", ipc=60)
    assert rehearsed(config).image_bytes == 600 * 64


def test_the_pools_of_two_methods_are_both_counted(tmp_path):
    config = with_relabel(configured("tesla", *TESLA), "apm", APM)
    found, real = rehearsed(config), done(config, tmp_path / "run")
    assert len(list(cache_folder("pools").iterdir())) == 2
    assert found.pool_bytes == pytest.approx(real.pool_bytes, rel=0.02)
    assert (found.image_bytes, found.label_bytes) == (real.image_bytes, real.label_bytes)


def test_labels_of_the_same_method_are_made_with_the_same_pool(tmp_path):
    config = with_relabel(configured("teddy", *TEDDY), None, ["relabel.label_epochs=3"])
    found, real = rehearsed(config), done(config, tmp_path / "run")
    assert len(list(cache_folder("pools").iterdir())) == 1
    assert found.pool_bytes == pytest.approx(real.pool_bytes, rel=0.02)
    assert found.label_bytes == real.label_bytes


def test_only_the_labels_have_a_pool_where_random_images_are_labelled(tmp_path):
    config = with_relabel(configured("random"), "apm", APM)
    found, real = rehearsed(config), done(config, tmp_path / "run")
    assert found.pool_bytes == pytest.approx(real.pool_bytes, rel=0.02)
    assert found.label_bytes == real.label_bytes == 20 * 10 * 4
    assert (found.synthesis_seconds, found.peak_bytes) == (0, 0)


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(DdkitError, match=r"need epoch 5 .* but the experts have 4"):
        rehearsed(configured("tesla", *TESLA, "expert_epochs=4"))
