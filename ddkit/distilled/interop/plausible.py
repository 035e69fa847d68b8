"""Whether pixels can be what the user says of them: a wrong word gives a set that trains badly.

Limits are far from what was measured on sets that are right, and from what wrong words make of
them; `--trust` imports what is beyond them.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.runtime.errors import DdkitError

# Pixels further beyond 0 … 1 than MARGIN. Optimised images leave that range and mean it: TESLA's
# on digits with 36 % of their pixels (54 % with ZCA), of which 0 and 6 % are so far outside, DC's
# at ten times its rate with 39 %. Of normalised digits that are taken for pixels 65 % are.
MARGIN, FAR = 0.5, 0.5
# How far the mean may be from the data's, in standard deviations of their pixels: these sets are
# within 0.02; whitened images that are taken for pixels are off by 0.8 (digits) to 1.9 (CIFAR-10).
OFF = 0.75
# Where the data are not known: how near to 0 or 1 the mean may be, in standard deviations. Of black
# images with one white pixel in a hundred it is 0.1, of MNIST 0.4, of what is normalised about 0.
BLACK = 0.1
# Contrast beside the data's: whitened photographs that are taken for normalised have 0.2 of it,
# sets that are right 0.8 to 1.1. Few are refused for it alone: undone, the whitening must fit.
FLAT = 0.5
WHITENED = 3 * 32 * 32  # values of an image whose whitening takes seconds to know
LOOKED_AT = 1000  # images


@dataclass(frozen=True)
class Plausible:
    """What is known of how images became network inputs.

    Attributes:
        space: as the user says; None where nothing was said.
        train: the data that were distilled, or None.
    """

    space: InputSpace | None
    train: Split | None

    def check(self, pixels: Tensor, path: Path, inputs: Tensor | None = None) -> None:
        """Raise `DdkitError` for pixels (N, channels, H, W) that can't be.

        Args:
            inputs: what the file holds and `space` made these pixels of; None: pixels.
        """
        if self.train is not None and tuple(pixels.shape[1:]) != self.train.shape:
            return  # other data, which is what the user has to hear
        rows = torch.linspace(0, len(pixels) - 1, min(len(pixels), LOOKED_AT)).round().long()
        seen = None if inputs is None else inputs[rows]
        wrong = self.problem(pixels[rows]) or (None if seen is None else self.mistaken(seen))
        if wrong is not None:
            advice = self.advice(seen)
            raise DdkitError(f"{path} {wrong}: {advice}; or accept it as it is with --trust pixels")

    def problem(self, pixels: Tensor) -> str | None:
        """Return what is wrong with pixels by themselves, and beside the data."""
        far = float(((pixels < -MARGIN) | (pixels > 1 + MARGIN)).float().mean())
        if far > FAR:
            return f"would have {far:.0%} of its pixels far outside 0 to 1"
        mean, data = pixels.mean((0, 2, 3)), self.data
        if data is not None:
            if ((mean - data.mean).abs() > OFF * data.std).any():
                return f"would have the mean {listed(mean)}, but the data have {listed(data.mean)}"
        elif min(mean.mean(), 1 - mean.mean()) < BLACK * pixels.std():
            return f"would have the mean {listed(mean)}, of pixels in 0 to 1"
        return None

    def mistaken(self, inputs: Tensor) -> str | None:
        """Return what is wrong with inputs that make pixels without a problem."""
        if self.space is None or self.space.kind != "standard":
            return None
        if 0 <= inputs.min() < inputs.max():
            return "would have no pixel darker than --mean, as if it held pixels already"
        if self.whitening is None or self.contrast(self.space.decode(inputs)) > FLAT:
            return None
        if not self.fits(self.whitening.decode(inputs)):
            return None
        return "would have less than half the contrast of the data, as whitened images have"

    def advice(self, inputs: Tensor | None) -> str:
        """Return what to say instead, as far as that makes pixels of the inputs that can be."""
        if inputs is None:
            return "save pixels in 0 to 1 there, neither normalised nor whitened"
        channels = inputs.shape[1]
        spaces = {
            "--space unit": InputSpace(torch.zeros(channels), torch.ones(channels)),
            "the data's own mean and std (leave --mean and --std out)": self.data,
            "--space zca": self.whitening,
        }
        ways = [
            flag
            for flag, space in spaces.items()
            if space is not None and self.fits(space.decode(inputs))
        ]
        if ways:
            return f"plausible with {' or '.join(ways)}"
        if inputs.min() >= 0 and inputs.max() > 2:
            return "if it holds bytes of 0 to 255, divide them by 255 and use --space unit"
        return (
            "describe how the tool made its inputs from pixels: its --mean and --std, --data NAME "
            "--space zca if it whitens, --space unit if it saved pixels"
        )

    def fits(self, pixels: Tensor) -> bool:
        """Return whether pixels have no problem, and the contrast of the data, roughly."""
        known = self.data is not None
        return self.problem(pixels) is None and (
            not known or FLAT < self.contrast(pixels) < 1 / FLAT
        )

    def contrast(self, pixels: Tensor) -> float:
        """Return the standard deviation of pixels, that of the data being 1."""
        if self.data is None:
            return float("nan")
        return float((pixels.std((0, 2, 3)) / self.data.std).mean())

    @cached_property
    def data(self) -> InputSpace | None:
        """Mean and std of the data."""
        return None if self.train is None else InputSpace.fit(self.train, "standard")

    @cached_property
    def whitening(self) -> InputSpace | None:
        """The ZCA of the data, where it takes no more than seconds."""
        if self.train is None or prod(self.train.shape) > WHITENED:
            return None
        return InputSpace.fit(self.train, "zca")


def listed(values: Tensor) -> str:
    """Return numbers as a message has them."""
    return ",".join(f"{value:.2f}" for value in values.tolist())
