"""How fast ddkit's steps are on a device, beside bare torch and what the device can do at all."""

from benchmarks.device.figures import evaluation, methods, training
from benchmarks.device.figures.rates import ITEM
from benchmarks.device.parts import Part

NOTE = (
    "Medians over blocks of ten steps without a wait (of one where it takes 50 ms, or on a CPU), "
    "ddkit's and bare torch's in turn. Kernels: the seconds of a step in which the device computes "
    "or copies, and how often it is told to. A step is bound by launches where kernels take less "
    "than 80 % of its time. The floor is the larger of two: the operations of a step's "
    "convolutions and products (torch's count) at the best rate of this device, or the bytes that "
    "they read and write at its bandwidth; all else costs nothing in it."
)
ITEMS = (ITEM, *training.ITEMS, *methods.ITEMS, *evaluation.ITEMS)
PART = Part("figures", __name__, 1.5, (ITEMS,), NOTE)
