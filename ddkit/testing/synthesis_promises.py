"""What an objective promises of its shards, its leaves, its loss and its images."""

from functools import partial

import torch
from torch import Tensor

from ddkit.pools.pool import Pool
from ddkit.runtime.memory import PeakMemory
from ddkit.synthesis.images import Synthetic
from ddkit.testing.method import MethodUnderTest, attempted
from ddkit.testing.promises import Broken, promise
from ddkit.testing.subject import Stepper, Subject

FEW, MANY = 2, 6  # steps between which memory must not grow
GROWTH = 1.05


class SynthesisPromises(MethodUnderTest):
    """Of the hooks `build_pool` and `synthesis_loss`."""

    @promise("build_pool", "its tasks train networks that can be opened")
    def test_the_pool_can_be_trained_and_opened(self, subject: Subject) -> None:
        for index in range(len(subject.pool)):
            subject.pool.network(index)

    @promise("synthesis_loss", "the shards hold each image of the set once")
    def test_shards_hold_each_image_once(self, subject: Subject, pool: Pool) -> None:
        if subject.shards_fault:
            raise Broken(subject.shards_fault)

    @promise("synthesis_loss", "the loss of a step is one finite number on the run's device")
    def test_the_loss_is_a_finite_number(self, subject: Subject, pool: Pool) -> None:
        stepper = subject.stepper("loss")
        for step in range(min(subject.steps, FEW)):
            check_loss(stepper, step)

    @promise("synthesis_loss", "the gradient of the loss reaches the images")
    def test_the_gradient_reaches_the_images(self, subject: Subject, pool: Pool) -> None:
        stepper = subject.stepper("gradient")
        reached: set[str] = set()
        for step in range(min(subject.steps, FEW)):
            if not attempted("synthesis_loss", partial(check_loss, stepper, step)).requires_grad:
                raise Broken("no leaf is in the graph of loss(): something detaches it")
            for name, gradient in stepper.take(step).items():
                if gradient is not None and not gradient.isfinite().all():
                    raise Broken(f"the gradient of '{name}' in step {step} is not finite")
                if gradient is not None and gradient.count_nonzero():
                    reached.add(name)
        wanted = {"images"} & set(stepper.leaves) or set(stepper.leaves)
        if subject.steps and not reached & wanted:
            names = " and ".join(sorted(wanted))
            raise Broken(f"{names} got no gradient in {FEW} steps, or one of zeros")

    @promise("synthesis_loss", "images are decoded in the shape of the data, as pixels on the CPU")
    def test_images_are_decoded_in_the_shape_of_the_data(
        self, subject: Subject, pool: Pool
    ) -> None:
        stepper = subject.stepper("decoding")
        run, shard = stepper.objective.run, stepper.shard
        images = stepper.decoded()
        shape = (len(shard), *run.shape)
        if tuple(images.images.shape) != shape:
            raise Broken(f"decode() returns images of {tuple(images.images.shape)}, not {shape}")
        if images.images.dtype not in (torch.float32, torch.uint8):
            raise Broken(f"decode() returns images of {images.images.dtype}, not float32 or uint8")
        if not torch.equal(images.classes, shard.classes):
            raise Broken("decode() returns other classes than those of the shard")
        check_apart(images)

    @promise("synthesis_loss", "all steps can be taken, and leave finite images")
    def test_all_steps_can_be_taken(self, stepping: Subject) -> None:
        if not stepping.images.images.float().isfinite().all():
            raise Broken(f"after {stepping.steps} steps the images are not finite")

    @promise("synthesis_loss", "images that a step does not draw stay as they are")
    def test_images_that_are_not_drawn_stay(self, moving: Subject) -> None:
        stepper = moving.stepper("drawing")
        for step in range(moving.steps):
            drawn = stepper.objective.draw(stepper.shard, step)
            before = {name: leaf.value.detach().clone() for name, leaf in stepper.leaves.items()}
            images = stepper.decoded()
            gradients = stepper.take(step)
            for name, rows in drawn.items():
                rest = torch.ones(len(before[name]), dtype=torch.bool)
                rest[rows] = False
                now = stepper.leaves[name].value.detach()
                if not torch.equal(now[rest.to(now.device)], before[name][rest.to(now.device)]):
                    raise Broken(f"step {step} changed rows of '{name}' that draw() left out")
            moved = {name for name, gradient in gradients.items() if gradient is not None}
            if "images" in drawn and moved <= set(drawn):  # a leaf that is whole may change all
                rest = torch.ones(len(stepper.shard), dtype=torch.bool)
                rest[drawn["images"]] = False
                if not torch.equal(stepper.decoded().images[rest], images.images[rest]):
                    raise Broken(f"decode() gives other images of rows that step {step} left out")

    @promise("synthesis_loss", "a step takes no more memory than the one before")
    def test_memory_does_not_grow_with_the_steps(self, moving: Subject) -> None:
        few, many = (peak_over(moving, steps) for steps in (FEW, MANY))
        if many > GROWTH * few:
            raise Broken(
                f"the peak over {FEW} steps is {few} bytes, over {MANY} steps {many}: something "
                "keeps tensors, or their graphs, from step to step"
            )


def check_loss(stepper: Stepper, step: int) -> Tensor:
    """Return the loss of a step; raises `Broken` unless it is one finite number."""
    _, loss = stepper.loss(step)
    if loss.dim() != 0 or not loss.is_floating_point():
        raise Broken(f"loss() of step {step} is {tuple(loss.shape)} of {loss.dtype}")
    if not torch.isfinite(loss):
        raise Broken(f"loss() of step {step} is {loss.item()}")
    if loss.device.type != stepper.objective.run.device.type:
        raise Broken(f"loss() of step {step} is on {loss.device}")
    return loss


def check_apart(images: Synthetic) -> None:
    """Raise `Broken` where a part of a set is on another device, or not finite."""
    for name in ("images", "classes", "label_logits"):
        tensor = getattr(images, name)
        if tensor is not None and tensor.device.type != "cpu":
            raise Broken(f"decode() returns {name} on {tensor.device}, not on the CPU")
        if tensor is not None and not tensor.float().isfinite().all():
            raise Broken(f"decode() returns {name} that are not finite")


def peak_over(subject: Subject, steps: int) -> int:
    """Return the peak bytes of some steps together: the first ones of a shard, again and again."""
    stepper = subject.stepper(f"peak-{steps}")
    different = min(subject.steps, FEW)
    with PeakMemory(stepper.objective.run.device) as memory:
        for step in range(steps):
            stepper.take(step % different)
    return memory.peak
