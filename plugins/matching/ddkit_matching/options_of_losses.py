"""Options of what is matched, how images move, and how sets are evaluated, that came after DM's."""

from typing import Literal

from ddkit import MethodOptions, StageName, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
EVALUATE: tuple[StageName, ...] = ("evaluate",)


class LossOptions(MethodOptions):
    """Defaults are those of DC and DM, which have none of this."""

    distance: Literal["cosine", "mse", "l1"] = option(
        "cosine",
        "match=gradient: one cosine for each output node (DC), or the sum of squared (mse) or of "
        "absolute (l1) differences, then of convolutions alone (IDC)",
        stages=SYNTHESIS,
    )
    class_weight: float = option(
        0.0,
        "weight of the images' cross-entropy, times the network's training accuracy in percent "
        "(IDM); networks=queue",
        stages=SYNTHESIS,
        ge=0,
    )
    frequencies: int = option(
        4096,
        "match=characteristic: frequencies of each class in a step",
        stages=SYNTHESIS,
        ge=1,
    )
    frequency_law: Literal["normal", "learned"] = option(
        "normal",
        "how they are drawn: normal, or from a scale mixture of normals that is learned to make "
        "the loss large (the paper's minmax)",
        stages=SYNTHESIS,
    )
    lr_frequencies: float = option(
        1e-3, "learning rate of that mixture (Adam)", stages=SYNTHESIS, gt=0
    )
    phase: float = option(
        0.5,
        "weight of the difference in phase; that in amplitude has the rest",
        stages=SYNTHESIS,
        ge=0,
        le=1,
    )
    calibration: float = option(
        0.0,
        "weight of the images' cross-entropy in a trained network (NCFM); networks=pairs",
        stages=SYNTHESIS,
        ge=0,
    )
    batch_syn: int = option(
        0, "images of a class in a step, drawn at random; 0: all of them", stages=SYNTHESIS, ge=0
    )
    optimiser: Literal["sgd", "adamw"] = option(
        "sgd", "optimiser of the pixels; momentum is that of sgd", stages=SYNTHESIS
    )
    decay: float = option(
        0.0,
        "weight decay of the pixels with adamw, towards the mean colour: NCFM's decays pixels of "
        "0 … 1 towards black",
        stages=SYNTHESIS,
        ge=0,
    )
    clip: bool = option(False, "keep pixels in their valid range", stages=SYNTHESIS)

    evaluation_epochs: int = option(
        0, "epochs of the method's own recipe; 0: as its code", stages=EVALUATE, ge=0
    )
    evaluation_batch: int = option(
        0, "batch size of the method's own recipe; 0: as its code", stages=EVALUATE, ge=0
    )
