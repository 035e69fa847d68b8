"""A synthesis in phases: leaves that begin anew on the way, of another shape too."""

from functools import partial

import pytest
import torch

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.formed import formed
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.objective import Objective

STEPS, TURNS, SIDES = 7, (2, 5), {2: 4, 5: 2}


class Phased(Objective):
    """Σ (images − step)², at 2×2 pixels, then at 4×4, then at 2×2 again."""

    steps, turns = STEPS, TURNS
    dies_at: int | None = None

    def initialise(self, shard):
        value = torch.linspace(-1, 1, len(shard) * 4).view(len(shard), 1, 2, 2)
        return {
            "images": Leaf(value, partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
            "rate": Leaf(torch.tensor(1.0), partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
        }

    def renewed(self, shard, leaves, step):
        side = SIDES[step]
        images = torch.nn.functional.interpolate(leaves["images"], (side, side))
        return {"images": images * 0.5 + self.initialise(shard)["images"].value.mean()}

    def loss(self, shard, leaves, step):
        if step == self.dies_at:
            raise KeyboardInterrupt
        return ((leaves["images"] - step) ** 2).mean() + (leaves["rate"] - step) ** 2

    def decode(self, shard, leaves):
        images = torch.nn.functional.interpolate(leaves["images"], (2, 2))
        return Synthetic(images, shard.classes, learning_rate=float(leaves["rate"]))


def result(run, folder, objective=Phased) -> dict[str, torch.Tensor]:
    """Synthesise in `folder`, or go on there, and return the tensors of the shard."""
    engine = Engine(run(folder=folder), objective(run(folder=folder)), checkpoint_seconds=0)
    engine.synthesise()
    return TensorFile(engine.file(engine.objective.shards()[0]).path).read()


def test_values_and_optimisers_begin_anew_and_other_leaves_go_on(run, tmp_path):
    found = result(run, tmp_path / "a")
    images = torch.linspace(-1, 1, 24, dtype=torch.float64).view(6, 1, 2, 2)
    rate, momentum, speed = torch.tensor(1.0).double(), torch.zeros_like(images), 0.0
    for step in range(STEPS):
        if step in SIDES:
            images = torch.nn.functional.interpolate(images, (SIDES[step], SIDES[step])) * 0.5
            momentum = torch.zeros_like(images)
        momentum = 0.9 * momentum + 2 * (images - step) / images.numel()
        images = images - 0.1 * momentum
        speed = 0.9 * speed + 2 * (rate - step)
        rate = rate - 0.1 * speed
    torch.testing.assert_close(found["images"].double(), images, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["learning_rate"].double(), rate, rtol=0, atol=1e-5)


@pytest.mark.parametrize("deadly", range(1, STEPS))
def test_killed_in_any_phase_it_ends_in_the_same_bytes(run, tmp_path, deadly):
    whole = result(run, tmp_path / "whole")

    class Dying(Phased):
        dies_at = deadly

    with pytest.raises(KeyboardInterrupt):
        result(run, tmp_path / "killed", Dying)
    again = result(run, tmp_path / "killed")
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_peak_is_that_of_the_largest_phase(run, tmp_path):
    class Hungry(Phased):
        def loss(self, shard, leaves, step):
            needed = torch.zeros(100_000 if step == TURNS[1] else 10)
            return super().loss(shard, leaves, step) + needed.sum()

    result(run, tmp_path / "a", Hungry)
    metadata = TensorFile(tmp_path / "a" / "shards/shard-00000.safetensors").metadata
    assert metadata["peak_bytes"] >= 400_000


def test_images_that_hold_several_cannot_begin_anew(run):
    work = run(factor=2)
    with pytest.raises(DdkitError, match="makes its images anew on the way"):
        formed(Phased(work), work)
