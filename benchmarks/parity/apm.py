"""APM: the update of a mini-batch, and the training of a student."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from ddkit_apm.distances import l1
from ddkit_apm.matching import prediction_matching
from ddkit_apm.students import as_function, train_student
from torch import Tensor, nn

from benchmarks.parity.foreign import Checkout, Lines, Repository, quiet
from benchmarks.parity.inputs import Inputs, default, twin
from benchmarks.parity.rows import Row, apart, compared
from ddkit.data.augmentation.dsa import DSA_STRATEGY
from ddkit.pipeline.stages import Stage

REPOSITORY = Repository("mchen725/DD_APM", ("distill.py", "networks.py", "utils.py"))
IPC, CHECKPOINTS, PART, DRAWS = 4, 5, 20, 5
ALPHA, RATE, EPOCHS = 0.1, 0.02, 10


def update(
    checkout: Checkout, lines: Lines, inputs: Inputs, dtype: torch.dtype, size: int
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return what computes the gradient of the images, theirs and ours, `size` at a time."""
    images, labels = inputs.images(IPC)
    images = images.to(dtype)
    made = [inputs.network(seed).to(dtype) for seed in range(CHECKPOINTS + 1)]
    teacher, *students = (twin(checkout.module("networks.py"), each).eval() for each in made)
    args = SimpleNamespace(device="cpu", batch_syn=len(images), ce=ALPHA)

    def theirs() -> Tensor:
        leaf = images.clone().requires_grad_()
        with default(dtype):
            lines.run(
                args=args,
                image_syn=leaf,
                label_syn_ori=labels,
                chunks=list(torch.arange(len(images)).split(size)),
                teacher_model=teacher,
                middle_models=students,
                ce_criterion=nn.CrossEntropyLoss(),
            )
        assert leaf.grad is not None
        return leaf.grad

    for network in made:
        network.eval().requires_grad_(False)
    skeleton = inputs.network(0).to(dtype).eval().requires_grad_(False)
    functions = [as_function(skeleton, network.state_dict()) for network in made[1:]]

    def ours() -> Tensor:
        return prediction_matching(
            images, labels, made[0], functions, l1, alpha=ALPHA, log=False, segment=size
        )[1]

    return theirs, ours


def student(
    checkout: Checkout, inputs: Inputs, augmentation: str, epochs: int = EPOCHS - 1
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return what trains a student, theirs and ours; both return its logits of the images.

    `epochs` is the released number, which trains one epoch more than it says.
    """
    images, _ = inputs.images(IPC)
    targets = torch.randn(len(images), inputs.classes, generator=torch.Generator().manual_seed(1))
    script, released = checkout.module("distill.py"), checkout.module("networks.py")
    args = SimpleNamespace(
        device="cpu",
        lr_net=RATE,
        s_epoch=epochs,
        s_num=CHECKPOINTS,
        loss="l1",
        batch_train=256,
        soft_lab=True,
        dataset="",
        dsa=augmentation == "dsa",
        dsa_strategy=DSA_STRATEGY,
        dsa_param=script.ParamDiffAug(),
        dc_aug_param=None,
    )

    def theirs() -> Tensor:
        kept: list[Any] = []
        with quiet():
            script.train(1, twin(released, inputs.network(0)), images, targets, args, kept)
        with torch.no_grad():
            logits: Tensor = kept[-1].eval()(images)
        return logits

    settings = [
        f"student_epochs={EPOCHS}",
        f"checkpoints={CHECKPOINTS}",
        f"lr_student={RATE}",
        f"student_augmentation={augmentation}",
    ]
    run = Stage(inputs.run("apm", IPC, *settings), "synthesis").run

    def ours() -> Tensor:
        network = inputs.network(0)
        states = train_student(run, network, images, targets, 0)
        network.load_state_dict(states[-1])
        with torch.no_grad():
            logits: Tensor = network.eval()(images)
        return logits

    return theirs, ours


def rows(checkout: Checkout, inputs: Inputs) -> Iterator[Row]:
    lines = checkout.lines("distill.py", ("main", "exp", "it"), "loss_all", "image_syn.grad")
    count = IPC * inputs.classes
    for size, what in ((count, "whole"), (PART, f"in parts of {PART}")):
        theirs, ours = update(checkout, lines, inputs, torch.float64, size)
        gap = apart(ours(), theirs())
        sides = update(checkout, lines, inputs, torch.float32, size)
        yield Row(
            f"APM, update of {count} images with its options (no log, α {ALPHA}), {what}",
            [lines.where],
            f"{gap:.0e} in float64",
            *compared(inputs.seconds, *sides),
            {"float64": gap},
        )
    for augmentation in ("none", "dsa"):
        alike, ours = student(checkout, inputs, augmentation)
        longer, _ = student(checkout, inputs, augmentation, EPOCHS)
        own = ours()
        gaps = [apart(alike(), own) for _ in range(DRAWS)]
        further = apart(longer(), own)
        words = (
            f"logits {min(gaps):.0e} to {max(gaps):.0e} in float32 where both take {EPOCHS} "
            f"epochs ({DRAWS} orders of theirs, which round otherwise); {further:.0e} as released: "
            f"{EPOCHS} epochs are {EPOCHS + 1} there, and the decay comes one later"
        )
        yield Row(
            f"APM, training a student on {count} images, DSA: {augmentation}",
            ["distill.py: train"],
            words if augmentation == "none" else "other draws",
            *compared(inputs.seconds, alike, ours),
            {"logits": gaps, "as released": further},
        )
