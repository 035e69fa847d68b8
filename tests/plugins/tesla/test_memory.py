"""A memory budget chooses the micro-batch and the students that are kept; what does not fit."""

import json
import re
from dataclasses import replace

import pytest
import torch
from ddkit_tesla.checking import check_run
from ddkit_tesla.memory import kept_graphs
from ddkit_tesla.objective import TeslaObjective

from ddkit import DdkitError, Run
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime import interrupt
from ddkit.runtime.interrupt import Stopped
from ddkit.runtime.memory import PeakMemory

pytestmark = pytest.mark.usefixtures("shared_pools")
NARROW = "convnet:depth=1:width=4"  # images take much, weights little
BRIEF = ("experts=1", "train_epochs=1", "max_start_epoch=1", "augmentation=none", "iterations=2")
WIDE = "convnet:depth=1:width=32"  # students take much
BATCH_NORM = "convnet:depth=1:width=4:norm=batch"


@pytest.fixture
def narrow_run(tesla_run):
    """Return a function that prepares a run of 20 images whose weights take little."""

    def make(*settings: str, **common) -> Run:
        return tesla_run(
            *BRIEF, "student_steps=3", *settings, **{"network": NARROW, "ipc": 2, **common}
        )

    return make


def needed(run: Run, micro_batch: int = 0, snapshot_every: int = 1, kept_graphs: int = 0) -> int:
    """Return the bytes of a second step: networks, images, momentum and what is live.

    Teacher and skeleton are there before; θ_t and θ_{t+M} are read during the step.
    """
    sizes = {
        "micro_batch": micro_batch,
        "snapshot_every": snapshot_every,
        "kept_graphs": kept_graphs,
    }
    config = run.config.model_copy(update={"memory_budget": None})
    plain = replace(run, config=config, options=run.options.model_copy(update=sizes))
    objective = TeslaObjective(plain, stage_pools.open_pool(run, "synthesis"))
    shard = objective.shards()[0]
    drawn = objective.draw(shard, 0).get("images", torch.arange(len(shard)))
    made = objective.initialise(shard)
    leaves = {name: leaf.value.requires_grad_() for name, leaf in made.items()}
    leaves["images"] = leaves["images"].detach()[drawn].requires_grad_()
    optimiser = made["images"].optimiser([leaves["images"]])
    leaves["images"].grad = torch.zeros_like(leaves["images"])
    optimiser.step()
    optimiser.zero_grad()
    objective.loss(shard, leaves, 0)  # opens the experts
    with PeakMemory() as memory:
        objective.loss(shard, leaves, 0).backward()
        optimiser.step()
    network = run.network(run.generator("any"))
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    return 2 * weights + 2 * leaves["images"].nbytes + memory.peak


def chosen(run: Run, folder: str = "run") -> tuple[int, int]:
    text = (run.folder.with_name(folder) / "settled.json").read_text()
    sizes = json.loads(text)["sizes"]
    return sizes["micro_batch"], sizes["snapshot_every"]


@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (5, ()),
        (6, ("student_steps=4", "augmentation=dsa")),
        (6, ("batch_syn=14",)),
        (5, ("student_steps=4", "labels=learned")),
    ],
)
def test_the_micro_batch_keeps_to_the_budget_and_a_larger_one_would_not(
    narrow_run, synthesised, images, settings
):
    run = narrow_run(*settings, memory_budget=int(1.02 * needed(narrow_run(*settings), images)))
    file = synthesised(run)
    size, every = chosen(run)
    assert every == 1
    assert 0.7 * images <= size <= 1.3 * images
    budget = run.config.memory_budget
    assert needed(run, size) <= budget < needed(run, int(1.4 * size) + 2)
    assert file.metadata["peak_bytes"] <= budget


def test_the_whole_batch_is_taken_where_it_fits(narrow_run, synthesised):
    run = narrow_run(memory_budget=int(1.03 * needed(narrow_run())))
    plain, budgeted = synthesised(narrow_run(), "plain"), synthesised(run)
    assert chosen(run) == (0, 1)
    assert torch.equal(plain["images"], budgeted["images"])


def test_some_students_are_kept_where_all_of_them_are_too_much(tesla_run, synthesised):
    settings = (*BRIEF, "student_steps=9")
    common = {"network": WIDE, "data": {"classes": "2"}}
    all_kept, some_kept = (needed(tesla_run(*settings, **common), 1, every) for every in (1, 0))
    assert some_kept < 0.9 * all_kept
    run = tesla_run(*settings, **common, memory_budget=(all_kept + some_kept) // 2)
    synthesised(run)
    size, every = chosen(run)
    assert every == 0
    assert needed(run, size, 0) <= run.config.memory_budget


def test_the_images_differ_by_rounding_only(narrow_run, synthesised):
    plain = synthesised(narrow_run(), "plain")
    budgeted = synthesised(narrow_run(memory_budget=needed(narrow_run(), 5)), "budget")
    assert 0 < chosen(narrow_run(), "budget")[0] < 10
    torch.testing.assert_close(budgeted["images"], plain["images"], rtol=1e-3, atol=1e-3)
    assert (plain["images"] - plain["initial"]).abs().max() > 1e-2


def test_a_run_that_goes_on_keeps_what_it_chose(narrow_run, synthesised, monkeypatch, request_stop):
    run = narrow_run("iterations=3", memory_budget=needed(narrow_run(), 6))
    whole = synthesised(run, "whole").read()
    plain = TeslaObjective.loss
    with monkeypatch.context() as patch:

        def interrupted(self, shard, leaves, step):
            if step == 1 and self.steps == 3 and self.run.config.memory_budget:
                request_stop()
            return plain(self, shard, leaves, step)

        patch.setattr(TeslaObjective, "loss", interrupted)
        with pytest.raises(Stopped):
            synthesised(run, "killed", checkpoint_seconds=0)
    interrupt._requested.clear()
    monkeypatch.setattr(
        "ddkit_tesla.objective.fitting_sizes", lambda *_: pytest.fail("chose again")
    )
    resumed = synthesised(run, "killed", checkpoint_seconds=0).read()
    assert chosen(run, "killed") == chosen(run, "whole")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def refusal(run: Run) -> str:
    with pytest.raises(DdkitError) as error:
        check_run(run)
    return str(error.value)


def smallest(text: str) -> float:
    number, unit = re.search(r"needs ([\d.]+) (kB|MB)", text).groups()
    return (float(number) + 0.1) * {"kB": 1e3, "MB": 1e6}[unit]


def test_too_small_a_budget_is_refused_before_an_expert_is_trained(narrow_run, monkeypatch):
    expected = needed(narrow_run(), 1, 0)
    run = narrow_run("train_lr=0.02", memory_budget="9kB")  # another pool
    monkeypatch.setattr(
        "ddkit.pipeline.stages.train_pool", lambda *_: pytest.fail("trained a pool")
    )
    with pytest.raises(DdkitError) as error:
        pipeline.distill(run.config, run.folder)
    assert not run.folder.exists()
    line = str(error.value)
    assert re.fullmatch(
        r"--memory-budget 9\.0 kB is too small: a micro-batch of 1 image, the smallest, "
        r"needs [\d.]+ kB",
        line,
    )
    assert smallest(line) == pytest.approx(expected, rel=0.1)
    enough = narrow_run(memory_budget=int(smallest(line)))
    check_run(enough)


def test_what_was_said_is_kept_or_refused(narrow_run, synthesised):
    run = narrow_run("micro_batch=8", memory_budget=int(1.03 * needed(narrow_run(), 8)))
    synthesised(run)
    assert chosen(run) == (8, 1)
    tight = narrow_run("micro_batch=14", memory_budget=needed(narrow_run(), 8))
    assert re.fullmatch(
        r"--memory-budget [\d.]+ kB is too small for micro_batch=14, which needs [\d.]+ kB: "
        r"lower it, or leave it out",
        refusal(tight),
    )
    assert "a micro-batch of 1 image" in refusal(narrow_run("snapshot_every=2", memory_budget=99))


def test_a_network_that_needs_the_whole_batch_gets_it_or_is_refused(narrow_run, synthesised):
    common = {"network": BATCH_NORM}
    whole = needed(narrow_run(**common))
    run = narrow_run(**common, memory_budget=int(1.03 * whole))
    synthesised(run)
    assert chosen(run) == (0, 1)
    line = refusal(narrow_run(**common, memory_budget=whole // 2))
    assert re.fullmatch(
        r"--memory-budget [\d.]+ kB is too small: a step on 20 images needs [\d.]+ kB, but this "
        r"network has batch norms, whose statistics need the whole batch: lower batch_syn, or "
        r"use a network with instance or group norm",
        line,
    )
    assert smallest(line) == pytest.approx(needed(narrow_run(**common), 0, 0), rel=0.1)
    less = narrow_run("batch_syn=8", **common, memory_budget=int(0.8 * whole))
    check_run(less)


def graphs(run: Run, folder: str = "run") -> int:
    settled = json.loads((run.folder.with_name(folder) / "settled.json").read_text())
    return settled["sizes"]["kept_graphs"] if "sizes" in settled else settled["kept graphs"]


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("augmentation=dsa",),
        ("gradient=paper", "labels=learned"),
        ("batch_syn=14",),
    ],
)
def test_a_budget_keeps_the_graphs_that_fit_and_no_more_would(narrow_run, synthesised, settings):
    settings = ("student_steps=7", *settings)
    none, four = (needed(narrow_run(*settings), kept_graphs=n) for n in (0, 4))
    run = narrow_run(*settings, memory_budget=four + (four - none) // 6)
    file = synthesised(run)
    assert chosen(run) == (0, 1)
    assert 2 <= graphs(run) <= 4
    assert needed(run, kept_graphs=graphs(run)) <= run.config.memory_budget
    assert needed(run, kept_graphs=6) > run.config.memory_budget
    assert file.metadata["peak_bytes"] <= run.config.memory_budget


def test_graphs_that_were_asked_for_count_before_anything_else(narrow_run, synthesised):
    plain = narrow_run("student_steps=5")
    budget = int(1.1 * needed(plain, kept_graphs=3))
    for kept in (0, 3):
        run = narrow_run("student_steps=5", f"kept_graphs={kept}", memory_budget=budget)
        synthesised(run, str(kept))
        assert graphs(run, str(kept)) == kept
    assert chosen(run, "3") == (0, 1)
    less = narrow_run("student_steps=5", "kept_graphs=3", memory_budget=needed(plain, 10))
    assert "needs" in refusal(less)


def test_without_a_budget_graphs_are_kept_in_a_share_of_the_free_memory(
    narrow_run, synthesised, monkeypatch
):
    run = narrow_run()
    none, all_kept = (needed(run, kept_graphs=n) for n in (0, 3))
    for name, free in (("plenty", 10**10), ("some", 4 * (none + all_kept) // 2), ("none", none)):
        monkeypatch.setattr("ddkit_tesla.memory.free_memory", lambda device, free=free: free)
        monkeypatch.setattr("ddkit_tesla.memory.available_cores", lambda: 1)
        synthesised(run, name)
    assert graphs(run, "plenty") == 3
    assert 0 < graphs(run, "some") < 3
    assert graphs(run, "none") == 0


def test_as_many_runs_as_cores_keep_no_more_than_the_share(narrow_run, monkeypatch):
    run = narrow_run("student_steps=9", "kept_graphs=auto")
    monkeypatch.setattr("ddkit_tesla.memory.free_memory", lambda device: 4 * 10**6)
    found = []
    for cores in (1, 4, 10**6):
        monkeypatch.setattr("ddkit_tesla.memory.available_cores", lambda cores=cores: cores)
        found.append(kept_graphs(run, TeslaObjective))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] == 0


def test_how_many_graphs_are_kept_changes_no_byte(narrow_run, synthesised):
    files = [
        synthesised(narrow_run(f"kept_graphs={count}"), count).read() for count in ("0", "2", "9")
    ]
    for file in files[1:]:
        assert torch.equal(file["images"], files[0]["images"])
        assert torch.equal(file["losses"], files[0]["losses"])


def test_a_negative_number_of_graphs_is_refused(narrow_run):
    with pytest.raises(DdkitError, match=r"kept_graphs must be auto, or 0 or more \(got -1\)"):
        narrow_run("kept_graphs=-1")
