"""SRe²L: a step of images of 32 and of 64 px through a ResNet-18."""

import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from ddkit_teddy.matching import running_references, teddy_loss
from torch import Tensor, nn

from benchmarks.parity.foreign import Checkout, Repository
from benchmarks.parity.inputs import Inputs, default
from benchmarks.parity.rows import Row, apart, compared
from ddkit import networks
from ddkit.networks.norms import batch_norms

FOLDER = "SRe2L/*small_dataset"  # so it is called
REPOSITORY = Repository(
    "VILA-Lab/SRe2L",
    tuple(f"{FOLDER}/{name}.py" for name in ("recover_cifar", "recover_tiny", "utils")),
)
CASES = ((32, "recover_cifar.py", 10), (64, "recover_tiny.py", 4))  # side, script, images
CLASSES, WEIGHT, FIRST = 100, 0.01, 10.0

Gradient = tuple[Tensor, Tensor]  # the loss and the images' gradient


def step(
    checkout: Checkout, file: str, side: int, count: int, dtype: torch.dtype
) -> tuple[Callable[[], Gradient], Callable[[], Gradient], list[str]]:
    """Return what computes a step, theirs and ours, and which lines theirs are."""
    path = f"{FOLDER}/{file}"
    hooks = checkout.lines(path, ("get_images",), "loss_r_feature_layers", "module")
    lines = checkout.lines(path, ("get_images", "kk", "iteration"), "outputs", "loss")
    generator = torch.Generator().manual_seed(0)
    teacher = networks.create(
        "resnet18", classes=CLASSES, shape=(3, side, side), generator=generator
    ).to(dtype)
    images = torch.randn(count, 3, side, side, generator=generator).to(dtype)
    classes = torch.arange(count) % CLASSES
    for norm in batch_norms(teacher):  # as after a training: other statistics than the images'
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.5, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
    teacher.eval().requires_grad_(False)
    hooked = copy.deepcopy(teacher)
    args = SimpleNamespace(first_bn_multiplier=FIRST, r_bn=WEIGHT)
    layers = hooks.run(model_teacher=hooked)["loss_r_feature_layers"]

    def theirs() -> Gradient:
        inputs = images.clone().requires_grad_()
        with default(dtype):
            names: dict[str, Any] = lines.run(
                args=args,
                model_teacher=hooked,
                loss_r_feature_layers=layers,
                inputs_jit=inputs,
                targets=classes,
                criterion=nn.CrossEntropyLoss(),
            )
            names["loss"].backward()
        assert inputs.grad is not None
        return names["loss"].detach(), inputs.grad

    references = running_references(teacher)

    def ours() -> Gradient:
        inputs = images.clone().requires_grad_()
        loss = teddy_loss(
            [teacher],
            [references],
            inputs,
            classes,
            bn_weight=WEIGHT,
            first_bn=FIRST,
            unbiased=False,
        )
        loss.backward()
        assert inputs.grad is not None
        return loss.detach(), inputs.grad

    return theirs, ours, [hooks.where, lines.where]


def rows(checkout: Checkout, inputs: Inputs) -> Iterator[Row]:
    for side, file, count in CASES:
        theirs, ours, _ = step(checkout, file, side, 2, torch.float64)
        loss, gradient = (apart(b, a) for a, b in zip(theirs(), ours(), strict=True))
        theirs, ours, where = step(checkout, file, side, count, torch.float32)
        yield Row(
            f"SRe²L, one step of {count} images of {side} px, ResNet-18",
            where,
            f"loss {loss:.0e}, gradient {gradient:.0e} in float64",
            *compared(inputs.seconds, theirs, ours),
            {"float64": {"loss": loss, "gradient": gradient}},
        )
