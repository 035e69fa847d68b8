"""An objective under multi-formation sees training images, and moves the stored ones."""

from dataclasses import replace

import pytest
import torch

from ddkit.data.formation import packed, parts_of, unpacked
from ddkit.pipeline.prepare import check_formation
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.formed import formed
from ddkit.synthesis.initial import check_initial, initial_real
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.objective import ImageObjective
from ddkit.synthesis.shards import class_balanced_shards


class Pull(ImageObjective):
    """Pulls each training image it is given towards a target of its own; draws rows if told to."""

    steps, lr, clip = 4, 0.1, False
    rows: dict[int, list[int]] | None = None

    def optimiser(self, parameters):
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.5)

    def targets(self, count):
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.run.total, *self.run.shape, generator=generator)[:count]

    def draw(self, shard, step):
        return {} if self.rows is None else {"images": torch.tensor(self.rows[step])}

    def loss(self, shard, leaves, step):
        images = leaves["images"]
        self.seen = images.detach().clone()
        rows = torch.arange(len(shard)) if self.rows is None else torch.tensor(self.rows[step])
        return (images - self.targets(len(shard))[rows]).square().sum()


def finished(work, objective) -> torch.Tensor:
    engine = Engine(work, objective)
    engine.synthesise()
    return TensorFile(engine.file(objective.shards()[0]).path)["images"]


def test_a_step_is_that_of_autograd_through_the_parts(run):
    work = run(ipc=2, factor=2)
    inner = Pull(work.decoded)
    final = finished(work, formed(inner, work))
    start = packed(initial_real(work.decoded), 2)
    stored = work.space.encode(start).requires_grad_()
    optimiser = torch.optim.SGD([stored], lr=0.1, momentum=0.5)
    for _ in range(4):
        optimiser.zero_grad()
        value = (
            (
                unpacked(
                    stored, 2, work.space.encode(torch.full_like(start[:1], 0.5))[0, :, :1, :1]
                )
                - inner.targets(24)
            )
            .square()
            .sum()
        )
        value.backward()
        optimiser.step()
    assert final.shape == (6, *work.shape)
    torch.testing.assert_close(final, work.space.decode(stored.detach()))


def test_only_stored_images_of_drawn_parts_move(run):
    work = run(ipc=2, factor=2)
    inner = Pull(work.decoded)
    inner.steps, inner.rows = 1, {0: [9, 21, 8]}  # parts of the stored images 2 and 5
    objective = formed(inner, work)
    shard = objective.shards()[0]
    start = objective.initialise(shard)["images"].value
    final = finished(work, objective)
    moved = (final - work.space.decode(start)).abs().amax((1, 2, 3)) > 1e-6
    assert moved.tolist() == [False, False, True, False, False, True]
    training = unpacked(start, 2)
    assert torch.equal(inner.seen, training[[9, 21, 8]])


def test_without_a_factor_nothing_stands_between(run):
    work = run(ipc=2)
    inner = Pull(work)
    assert work.decoded is work
    assert formed(inner, work) is inner


def test_groups_hold_whole_stored_images(run):
    work = run(ipc=3, factor=2, groups=2)
    shards = formed(Pull(work.decoded), work).shards()
    assert [len(shard) for shard in shards] == [6, 3]
    assert shards[1].slots.tolist() == [2, 5, 8]


def test_parts_that_a_method_makes_itself_are_kept_or_refused(run):
    class Batched(Pull):
        size = 12

        def shards(self):
            return class_balanced_shards(self.run, self.size)

    work = run(ipc=2, factor=2)
    shards = formed(Batched(work.decoded), work).shards()
    assert [shard.slots.tolist() for shard in shards] == [[0, 2, 4], [1, 3, 5]]
    Batched.size = 6
    with pytest.raises(DdkitError, match=r"--factor 2: .* do not hold whole stored images of 4"):
        formed(Batched(work.decoded), work).shards()


def test_noise_and_a_given_set_are_stored_images(run):
    work = run(ipc=1, factor=2, init="noise")
    objective = formed(Pull(work.decoded), work)
    noise = objective.initialise(objective.shards()[0])["images"].value
    assert 0.8 < noise.std() < 1.2  # averaged noise would have half of that
    given = torch.rand(3, *work.shape)
    work = replace(run(ipc=1, factor=2, init="set.safetensors"), start=lambda slots: given[slots])
    objective = formed(Pull(work.decoded), work)
    start = objective.initialise(objective.shards()[0])["images"].value
    assert torch.equal(start, work.space.encode(given))
    slots = torch.tensor([5, 0])
    assert torch.equal(work.decoded.start(slots), unpacked(given, 2)[slots])


def test_what_cannot_hold_several_is_refused(run):
    class Bases(Pull):
        def initialise(self, shard):
            return {"bases": Leaf(torch.zeros(2), self.optimiser)}

    work = run(ipc=1, factor=2)
    objective = formed(Bases(work.decoded), work)
    with pytest.raises(DdkitError, match="has no leaf 'images' whose rows could hold several"):
        objective.initialise(objective.shards()[0])
    with pytest.raises(DdkitError, match="parts of whitened images are no images"):
        check_formation(run(ipc=1, factor=2, space="zca"))
    with pytest.raises(DdkitError, match="cannot be cut into so many parts"):
        check_formation(run(ipc=1, factor=50))
    each = int(work.train.counts.min())
    with pytest.raises(DdkitError, match=rf"fewer than --ipc {each} × 4"):
        check_initial(run(ipc=each, factor=2))


def test_learned_labels_belong_to_the_training_images(run, synthesised):
    class Labelled(Pull):
        def decode(self, shard, leaves):
            found = super().decode(shard, leaves)
            return replace(
                found, label_logits=torch.arange(len(found)).float()[:, None].repeat(1, 3)
            )

    work = run(ipc=1, factor=2)
    objective = formed(Labelled(work.decoded), work)
    shard = objective.shards()[0]
    leaf = objective.initialise(shard)["images"]
    found = objective.decode(shard, {"images": leaf.value})
    assert len(found) == 3
    assert len(found.label_logits) == 12
    assert len(found.decoded()) == 12
    assert parts_of(torch.arange(3), 2).tolist() == found.label_logits[:, 0].tolist()
