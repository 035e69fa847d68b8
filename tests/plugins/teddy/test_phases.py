"""Phases, residuals, sizes and shifts (FADRM), and starts from patches (RDED)."""

import pytest
import torch
from ddkit_teddy.checking import check_run
from ddkit_teddy.objective import TeddyObjective
from ddkit_teddy.phases import mixed, shifted, turns

from ddkit import Silent, load
from ddkit.pipeline import distill as pipeline
from ddkit.pipeline import stages as stage_pools
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.patches import patch_collages, patch_losses
from ddkit.testing import MethodContract

POOLING = """
import torch


def net(classes, shape):
    return torch.nn.Sequential(
        torch.nn.Conv2d(shape[0], 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, classes),
    )
"""


def objective_of(run) -> TeddyObjective:
    return TeddyObjective(run, stage_pools.open_pool(run, "synthesis"))


@pytest.mark.parametrize(
    ("phases", "steps", "expected"),
    [(1, 100, []), (4, 2000, [500, 1000, 1500]), (3, 7, [2, 4]), (4, 2, [1]), (2, 0, [])],
)
def test_phases_are_equal_parts(teddy_run, phases, steps, expected):
    options = teddy_run(f"phases={phases}").options
    assert list(turns(options, steps)) == expected


def test_a_residual_is_a_share_of_what_images_began_as():
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    initial = torch.tensor([[[[5.0, 6.0], [7.0, 8.0]]]])
    assert torch.equal(mixed(images, initial, 0.0), images)
    assert torch.equal(mixed(images, initial, 1.0), initial)
    assert mixed(images, initial, 0.25).flatten().tolist() == [2.0, 3.0, 4.0, 5.0]
    whole = torch.full((1, 1, 4, 4), 5.0)  # scaled to the size of the phase
    assert torch.equal(mixed(images, whole, 1.0), torch.full((1, 1, 2, 2), 5.0))


def test_a_shift_goes_around_the_edges():
    images = torch.arange(25.0).view(1, 1, 5, 5)
    seen = set()
    for seed in range(60):
        found = shifted(images, 2, torch.Generator().manual_seed(seed))
        down, right = divmod(int((found.flatten() == 0).nonzero()), 5)
        expected = [[(r - down) % 5 * 5 + (c - right) % 5 for c in range(5)] for r in range(5)]
        assert found[0, 0].tolist() == expected
        seen.add((down, right))
    assert seen == {(down, right) for down in range(3) for right in range(3)}


def test_members_come_in_turn_through_all_phases(teddy_run):
    work = objective_of(teddy_run("teachers=2", "draw=turn", "phases=3", "iterations=6"))
    assert len(work.members) == 3
    drawn = [work.draw_members(work.shards()[0], step) for step in range(4)]
    assert drawn == [[0, 1], [2, 0], [1, 2], [0, 1]]


def test_with_a_residual_of_1_a_phase_begins_as_the_first_did(teddy_run):
    work = objective_of(teddy_run("residual=1", "phases=3"))
    shard = work.shards()[0]
    start = work.initialise(shard)["images"].value
    found = work.renewed(shard, {"images": torch.randn_like(start)}, work.turns[1])
    assert torch.equal(found["images"], start)


def test_images_go_through_the_sizes_of_their_phases(teddy_run, tmp_path):
    (tmp_path / "net.py").write_text(POOLING)
    network = f"{tmp_path / 'net.py'}:net"
    run = teddy_run("sizes=6,8", "phases=3", "iterations=6", "residual=0.5", network=network)
    work, sizes = objective_of(run), []
    loss = work.loss

    def watched(shard, leaves, step):
        sizes.append(leaves["images"].shape[2])
        return loss(shard, leaves, step)

    work.loss = watched
    Engine(run, work).synthesise()
    assert sizes[-6:] == [6, 6, 8, 8, 6, 6]
    file = Engine(run, work).file(work.shards()[0])
    assert file.path.exists()
    assert work.decode(work.shards()[0], {"images": torch.zeros(10, 1, 6, 6)}).images.shape == (
        10,
        1,
        8,
        8,
    )


def test_a_run_starts_from_the_patches_that_its_last_members_recognise(teddy_run):
    run = teddy_run("choose=patches", "teachers=1", "candidates=20", "crops=2", ipc=2)
    work = objective_of(run)
    (shard,) = work.shards()
    start = run.space.decode(work.initialise(shard)["images"].value)
    losses = patch_losses(work.pool, [len(work.members) - 1])
    for label in (0, 7):
        expected = patch_collages(run, label, losses).float() / 255
        assert (start[2 * label : 2 * label + 2] - expected).abs().max() < 1e-6
    # they are written down: another process does not look for them again
    work.pool = None
    again = work.initialise(shard)["images"].value
    assert torch.equal(run.space.decode(again), start)


def test_networks_that_are_only_tried_for_a_budget_choose_no_patches(teddy_run):
    run = teddy_run(
        "choose=patches", "teachers=1", "candidates=20", "crops=2", memory_budget="500MB"
    )
    check_run(run)
    work = objective_of(run)
    (shard,) = work.shards()
    start = run.space.decode(work.initialise(shard)["images"].value)
    losses = patch_losses(work.pool, [len(work.members) - 1])
    expected = patch_collages(run, 3, losses).float() / 255
    assert (start[3:4] - expected).abs().max() < 1e-6


def test_another_run_in_its_folder_chooses_its_own_patches(teddy_run):
    settings = ("choose=patches", "teachers=1", "candidates=20", "crops=2", "iterations=0")
    run = teddy_run(*settings)
    first = load(pipeline.distill(run.config, run.folder)).pixels(torch.arange(10))
    other = teddy_run(*settings, "last=1", "train_lr=0.01").config
    again = load(pipeline.distill(other, run.folder, Silent(), overwrite=True)).pixels(
        torch.arange(10)
    )
    assert not torch.equal(first, again)


@pytest.mark.parametrize(
    ("settings", "flags", "line"),
    [
        (["sizes=6"], {}, "takes no images of 6×6 pixels: leave sizes out"),
        (["sizes=9"], {}, "sizes=9: these are squares of at most 8 pixels for data of 8×8"),
        (["choose=patches"], {"init": "noise"}, "puts real images together, but --init is noise"),
        (["choose=patches", "collage=9"], {}, "cannot hold so many patches along a side"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(teddy_run, settings, flags, line):
    with pytest.raises(DdkitError, match=line):
        pipeline.distill(teddy_run(*settings, **flags).config, teddy_run(*settings, **flags).folder)


class TestFadrm(MethodContract):
    method = "fadrm"
    network = "convnet:depth=1:width=4:norm=batch"
    settings = (
        "unit=step",
        "first=1",
        "last=3",
        "train_batch=12",
        "recalibrate=20",
        "batch_size=3",
        "phases=2",
        "candidates=4",
        "crops=2",
        "label_epochs=2",
    )
