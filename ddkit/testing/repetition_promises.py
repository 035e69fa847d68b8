"""What a method promises when it is done again: the same bytes, and a process left as it was."""

from collections.abc import Mapping
from contextlib import suppress

import pytest
import torch
from torch import Tensor

from ddkit.labels import Labels
from ddkit.pools.pool import Pool
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.shard_file import packed
from ddkit.synthesis.shards import Shard
from ddkit.testing.method import MethodUnderTest
from ddkit.testing.promises import Broken, promise
from ddkit.testing.subject import Stepper, Subject

DRAW_WITH = "draw with run.generator(purpose, *indices) only"


class RepetitionPromises(MethodUnderTest):
    """Of all hooks of the synthesis and the labels."""

    @promise("build_pool", "the same seed gives the same pool, to the byte")
    def test_a_pool_is_the_same_when_trained_again(self, subject: Subject, pool: Pool) -> None:
        if not len(pool) or self.device != "cpu":
            return  # on CUDA each training measures how it computes
        again = subject.train("pool again")
        for index, member in enumerate(pool.members):
            name = different(pool.state(index), again.state(index))
            if name:
                raise Broken(
                    f"'{name}' of member {member.number} of {member.task} differs; {DRAW_WITH}"
                )

    @promise("synthesis_loss", "the same seed gives the same images, to the byte")
    def test_the_same_seed_gives_the_same_images(self, subject: Subject, images: Synthetic) -> None:
        name = different(packed(images), packed(subject.synthesise("again")))
        if name:
            raise Broken(f"'{name}' differ between two runs of seed 0; {DRAW_WITH}")

    @promise("relabel", "the same seed gives the same labels, to the byte")
    def test_the_same_seed_gives_the_same_labels(
        self, subject: Subject, images: Synthetic, labels: Labels
    ) -> None:
        name = different(labels.tensors(), subject.label("labels again", images).tensors())
        if name:
            raise Broken(f"'{name}' differs between two runs of seed 0; {DRAW_WITH}")

    @promise("synthesis_loss", "another seed gives other images")
    def test_another_seed_gives_other_images(self, subject: Subject, images: Synthetic) -> None:
        if not self.follows_seed:
            pytest.skip("the method says that it follows no seed")
        if torch.equal(images.images, subject.synthesise("another seed", seed=1).images):
            raise Broken("those of seed 0 and seed 1 are the same")

    @promise("synthesis_loss", "a run that was killed ends in the same images, to the byte")
    def test_a_killed_run_ends_in_the_same_images(self, moving: Subject, images: Synthetic) -> None:
        for _ in range(moving.steps * len(moving.engine("count").objective.shards())):
            engine = moving.engine("killed")
            dies_after(engine, 1)
            with suppress(Killed), moving.watching("synthesis_loss"):
                engine.synthesise()
        name = different(packed(images), packed(moving.synthesise("killed")))
        if name:
            raise Broken(
                f"'{name}' differ after a kill at each step: what lives across the steps must be "
                "in state_dict() and load_state_dict()"
            )

    @promise("synthesis_loss", "loss and draw follow from shard, step and state alone")
    def test_loss_and_draw_follow_from_shard_and_step(self, moving: Subject) -> None:
        stepper = moving.stepper("twice")
        first = asked(stepper)
        stepper.begin()
        others = {
            "after initialise() began again": asked(stepper),
            "of a new objective": asked(moving.stepper("twice again")),
        }
        for where, other in others.items():
            name = different(first, other)
            if name:
                raise Broken(f"{name} of step 0 is another one {where}")

    @promise("synthesis_loss", "generators that a process shares are not touched")
    def test_shared_generators_are_not_touched(self, subject: Subject) -> None:
        whole(subject)
        for hook, name in subject.disturbed:
            raise Broken(f"{hook} seeded or used the generator of {name}; {DRAW_WITH}")

    @promise("synthesis_loss", "the test split stays closed")
    def test_the_test_split_stays_closed(self, subject: Subject) -> None:
        whole(subject)
        for hook in subject.opened_test:
            raise Broken(f"{hook} opened it; select and tune on run.holdout")


class Killed(BaseException):
    """The end of a process, in small: nothing is saved any more."""


def dies_after(engine: Engine, steps: int) -> None:
    """Let the synthesis die after so many steps, in the middle of the next one."""
    loss = engine.objective.loss
    taken = 0

    def fatal(shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        nonlocal taken
        taken += 1
        if taken > steps:
            raise Killed
        return loss(shard, leaves, step)

    engine.objective.loss = fatal  # type: ignore[method-assign]


def asked(stepper: Stepper) -> dict[str, Tensor]:
    """Return what a shard draws and what its loss is in step 0, without taking the step."""
    drawn = stepper.objective.draw(stepper.shard, 0)
    _, loss = stepper.loss(0)
    rows = {f"the draw of '{name}'": tensor for name, tensor in drawn.items()}
    return {"the loss": loss.detach(), **rows}


def whole(subject: Subject) -> None:
    """Go through all stages, as far as they can be gone through."""
    with suppress(Exception):
        _ = subject.labels


def different(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that is not the same to the byte, if there is one."""
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            return name
        if one[name].shape != other[name].shape or bytes_of(one[name]) != bytes_of(other[name]):
            return name
    return None


def bytes_of(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
