"""A memory budget chooses the segment: what it keeps to, what stays chosen, what it refuses."""

import json
import re
from dataclasses import replace

import pytest
import torch
from ddkit_teddy.checking import check_run
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.segments import segmented_loss

from ddkit import DdkitError, Run
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.memory import PeakMemory
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine

pytestmark = pytest.mark.usefixtures("shared_pools")


@pytest.fixture
def narrow_run(teddy_run):
    """Return a function that prepares a run of 30 images in a batch whose weights take little."""

    def make(*settings: str, **common) -> Run:
        flags = {"network": "convnet:depth=1:width=8:norm=batch", "ipc": 3, **common}
        return teddy_run("teachers=2", *settings, **flags)

    return make


def needed(run: Run, segment: int) -> int:
    """Return the bytes of a second step: weights, images, Adam's state and what is live."""
    options = run.options.model_copy(update={"segment": segment})
    plain = replace(
        run, options=options, config=run.config.model_copy(update={"memory_budget": None})
    )
    objective = TeddyObjective(plain, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    leaf = objective.initialise(shard)["images"].value.requires_grad_()
    optimiser = objective.optimiser([leaf])
    leaf.grad = torch.zeros_like(leaf)
    optimiser.step()
    optimiser.zero_grad()
    drawn = objective.draw_members(shard, 0)
    networks = [objective.pool.network(index) for index in drawn]
    weights = sum(t.nbytes for network in networks for t in network.state_dict().values())
    with PeakMemory() as memory:
        objective.loss(shard, {"images": leaf}, 0).backward()
        optimiser.step()
    return weights + 3 * leaf.nbytes + memory.peak  # images and Adam's two moments


def synthesised(run: Run, folder: str = "run") -> TensorFile:
    run = replace(run, folder=run.folder.with_name(folder))
    objective = TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))
    engine = Engine(run, objective)
    engine.synthesise()
    return TensorFile(engine.file(objective.shards()[0]).path)


def chosen(run: Run, folder: str = "run") -> int:
    return sizes(run, folder)["segment"]


def sizes(run: Run, folder: str = "run") -> dict[str, int]:
    return json.loads((run.folder.with_name(folder) / "settled.json").read_text())["sizes"]


@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (7, ()),
        (20, ()),
        (17, ("augmentation=rrc",)),
        (10, ("pool=post", "members=2")),
    ],
)
def test_the_segment_keeps_to_the_budget_and_a_larger_one_would_not(narrow_run, images, settings):
    budget = int(1.02 * needed(narrow_run(*settings), images))
    run = narrow_run(*settings, memory_budget=budget)
    synthesised(run)
    assert 0.7 * images <= chosen(run) < 30  # small segments take as much as Adam's step
    assert needed(run, chosen(run)) <= budget < needed(run, int(1.4 * chosen(run)) + 2)


def test_the_whole_batch_is_taken_where_the_graphs_of_all_members_fit(narrow_run):
    whole, apart = (needed(narrow_run(), segment) for segment in (0, 30))
    assert whole > 1.3 * apart  # two graphs, and one
    run = narrow_run(memory_budget=int(1.01 * whole))
    plain, budgeted = synthesised(narrow_run(), "plain"), synthesised(run)
    assert chosen(run) == 0
    assert torch.equal(plain["images"], budgeted["images"])
    run = narrow_run(memory_budget=int(1.01 * apart))
    synthesised(run, "less")
    assert 26 <= chosen(run, "less") <= 30


def test_measuring_is_no_part_of_a_steps_peak(narrow_run):
    """The sizes that are tried are larger than the one that is chosen."""
    run = narrow_run(memory_budget=int(1.02 * needed(narrow_run(), 2)))
    assert synthesised(run).metadata["peak_bytes"] <= run.config.memory_budget
    assert chosen(run) <= 3


@pytest.mark.parametrize("images", [10, 0])
def test_what_a_step_leaves_of_the_budget_is_room_for_members(narrow_run, images):
    """On a CPU they take none: weights are the pages of their files."""
    budget = int(1.4 * needed(narrow_run(), images))
    run = narrow_run(f"segment={images}", memory_budget=budget)
    synthesised(run)
    pool = stage_pools.open_pool(run, "synthesis")
    drawn = 2 * sum(tensor.nbytes for tensor in pool.state(0).values())
    step = needed(run, images) - drawn
    assert 0.95 * budget <= step + sizes(run)["room"] <= budget
    assert sizes(run)["room"] > drawn


def test_the_images_differ_by_rounding_only(narrow_run):
    plain = synthesised(narrow_run(), "plain")
    budgeted = synthesised(narrow_run(memory_budget=needed(narrow_run(), 7)), "budget")
    assert 0 < chosen(narrow_run(), "budget") < 10
    torch.testing.assert_close(budgeted["losses"], plain["losses"], rtol=1e-4, atol=1e-4)
    assert (budgeted["images"] - plain["images"]).abs().mean() < 1e-3


def segments_used(monkeypatch) -> list[int]:
    used = []

    def watched(*arguments, **options):
        used.append(options["segment"])
        return segmented_loss(*arguments, **options)

    monkeypatch.setattr("ddkit_teddy.objective.segmented_loss", watched)
    return used


def test_a_run_that_goes_on_keeps_the_segment_that_it_chose(narrow_run, monkeypatch):
    run = narrow_run("batch_size=10", memory_budget=needed(narrow_run("batch_size=10"), 4))
    used = segments_used(monkeypatch)
    synthesised(run)
    first = chosen(run)
    assert used[-6:] == [first] * 6  # two shards of three steps
    other = {"segment": 1, "room": 0}
    monkeypatch.setattr("ddkit_teddy.objective.fitting_sizes", lambda *_: other)
    used.clear()
    (run.folder / "shards" / "shard-00001.safetensors").unlink()
    synthesised(run)
    assert used == [first] * 3


def smallest(text: str) -> float:
    number, unit = re.search(r"needs ([\d.]+) (kB|MB)", text).groups()
    return (float(number) + 0.1) * {"kB": 1e3, "MB": 1e6}[unit]


@pytest.mark.parametrize(
    ("settings", "over"),
    [
        ((), 0.01),
        (("statistics=classwise",), 0.01),
        (("pool=post", "members=2", "prune_ratio=0.5"), 0.15),  # measured before it is pruned
    ],
)
def test_too_small_a_budget_is_refused_before_the_pool_is_trained(
    narrow_run, settings, over, monkeypatch
):
    expected = needed(narrow_run(*settings), 1)
    run = narrow_run("train_lr=0.05", *settings, memory_budget="9kB")  # another pool
    with monkeypatch.context() as patch:
        patch.setattr("ddkit.pipeline.stages.train_pool", lambda *_: pytest.fail("trained a pool"))
        with pytest.raises(DdkitError) as error:
            pipeline.distill(run.config, run.folder)
    assert not run.folder.exists()
    line = str(error.value)
    assert re.fullmatch(
        r"--memory-budget 9\.0 kB is too small: a segment of 1 image, the smallest, "
        r"needs [\d.]+ kB",
        line,
    )
    assert expected <= smallest(line) <= (1 + over) * expected
    run = narrow_run(*settings, memory_budget=int(1.05 * smallest(line)))
    synthesised(run, "enough")
    assert chosen(run, "enough") >= 1


def test_a_segment_that_was_said_is_kept_or_refused(narrow_run):
    fits, tight = needed(narrow_run(), 6), needed(narrow_run(), 4)
    run = narrow_run("segment=6", memory_budget=int(1.02 * fits))
    synthesised(run)
    assert chosen(run) == 6
    run = narrow_run("segment=6", memory_budget=tight)
    with pytest.raises(DdkitError, match=r"too small for segment=6, which needs [\d.]+ kB: lower"):
        check_run(run)


def test_without_a_budget_nothing_is_chosen(narrow_run):
    run = narrow_run()
    synthesised(run)
    assert not (run.folder / "settled.json").exists()
