"""What a protocol does to each batch before a network sees it: DSA, CutMix."""

from torch import Tensor

from ddkit.data.augmentation.augment import cutmix
from ddkit.data.augmentation.dsa import apply_dsa, draw_scheme
from ddkit.evaluation.protocols import Protocol
from ddkit.runtime.seeds import generator


def augments(protocol: Protocol) -> bool:
    """Return whether a protocol augments or mixes each batch."""
    return protocol.augmentation.startswith("dsa") or protocol.recipe.cutmix > 0


def augmented(
    protocol: Protocol,
    inputs: Tensor,
    targets: Tensor,
    classes: int,
    place: tuple[int, int, int],
    mirror: bool,
) -> tuple[Tensor, Tensor]:
    """Return a batch of network inputs as a protocol augments it, and its targets.

    Args:
        targets: as they are returned; with CutMix int64 (B,), which become (B, classes).
        place: (seed, epoch, batch), which all draws follow from.
        mirror: whether images may be mirrored.
    """
    if protocol.augmentation in ("dsa", "dsa-layered"):
        size, random = (inputs.shape[-2], inputs.shape[-1]), generator(place[0], "dsa", *place[1:])
        drawn = draw_scheme(protocol.augmentation, len(inputs), size, random, flip=mirror)
        inputs = apply_dsa(inputs, drawn)
    if protocol.recipe.cutmix:
        random = generator(place[0], "cutmix", *place[1:])
        inputs, targets = cutmix(inputs, targets, classes, random, protocol.recipe.cutmix)
    return inputs, targets
