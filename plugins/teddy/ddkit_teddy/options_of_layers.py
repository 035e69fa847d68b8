"""The options of which layers are matched, and how much by class (G-VBSM, EDC)."""

from typing import Literal

from ddkit import MethodOptions, option


class LayerOptions(MethodOptions):
    """Defaults are Teddy's: batch norms alone."""

    layers: Literal["norms", "norms+convolutions"] = option(
        "norms",
        "whose inputs are matched: those of batch norms, or of convolutions as well, which needs "
        "statistics that are measured (G-VBSM, EDC)",
        stages=("pool", "synthesis"),
    )
    class_share: float = option(
        1.0,
        "statistics=classwise: how much the means of classes count; what is left is that of the "
        "means over all images (EDC: 0.5)",
        stages=("synthesis",),
        ge=0,
        le=1,
    )
