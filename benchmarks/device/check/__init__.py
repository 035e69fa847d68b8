"""Whether ddkit is right on a device: the same bytes, no waits, float32 where it is asked for."""

from benchmarks.device.check import agreement, arithmetic, loading, memory, repeats, waits
from benchmarks.device.parts import Part, in_lanes

NOTE = "A check that needs CUDA says nothing on a CPU. What was found is in the third column."
ITEMS = [
    *waits.ITEMS,
    *agreement.ITEMS,
    *loading.ITEMS,
    *repeats.ITEMS,
    *arithmetic.ITEMS,
    *memory.ITEMS,
]
PART = Part("check", __name__, 2.5, in_lanes(ITEMS, 2), NOTE, patience=5)
