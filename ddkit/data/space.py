"""Input spaces: how pixels in [0, 1] become what a network is fed, and back."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ddkit.data.pixels.base import Pixels
from ddkit.data.split import Split
from ddkit.data.zca import Zca
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.moving import sent

Kind = Literal["standard", "zca", "zca-relative", "unit"]


@dataclass(frozen=True, eq=False)
class InputSpace:
    """Network inputs = (pixels - mean) / std per channel, or ZCA-whitened pixels.

    Attributes:
        mean: float32 (channels,), in units of pixels in [0, 1].
        std: float32 (channels,), above 0.
        zca: the whitening, or None. With one, mean is 0 and std is 1, unless pixels are
            standardised before: it does that as well.
    """

    mean: Tensor
    std: Tensor
    zca: Zca | None = None

    @classmethod
    def fit(cls, split: Split, kind: Kind) -> "InputSpace":
        """Return the space that `kind` makes of the training images in `split`.

        `standard` takes mean and std of every channel, `unit` leaves pixels as they are, `zca`
        whitens them, `zca-relative` whitens standardised ones with a ridge relative to their
        variance. The result follows from the set of images alone, not from their order.

        Raises:
            DdkitError: an unknown `kind`, an empty split, or images that ZCA can't take.
        """
        if not len(split):
            raise DdkitError("an input space can't be fitted to an empty split")
        channels = split.shape[0]
        zeros, ones = torch.zeros(channels), torch.ones(channels)
        if kind == "standard":
            return cls(*_statistics(split.pixels))
        if kind == "unit":
            return cls(zeros, ones)
        if kind == "zca":
            return cls(zeros, ones, Zca.fit(split.pixels))
        if kind == "zca-relative":
            mean, std = _statistics(split.pixels)
            return cls(mean, std, Zca.fit(split.pixels, std=std))
        raise unknown("input space", kind, get_args(Kind))

    @property
    def kind(self) -> Kind:
        """The name that `fit` was given: standard, zca, zca-relative or unit."""
        unit = bool((self.mean == 0).all() and (self.std == 1).all())
        if self.zca is not None:
            return "zca" if unit else "zca-relative"
        return "unit" if unit else "standard"

    def encode(self, images: Tensor) -> Tensor:
        """Return the network inputs of `images` (B, channels, H, W), floating point in [0, 1].

        Differentiable; the inverse of `decode`.
        """
        if self.zca is not None:
            return self.zca.whiten(images)
        mean, std = self._columns(images)
        return (images - mean) / std

    def decode(self, inputs: Tensor) -> Tensor:
        """Return the pixels of network inputs (B, channels, H, W); not clipped to [0, 1].

        Differentiable; the inverse of `encode`.
        """
        if self.zca is not None:
            return self.zca.unwhiten(inputs)
        mean, std = self._columns(inputs)
        return inputs * std + mean

    def encode_bytes(self, images: Tensor) -> Tensor:
        """Return the float32 network inputs of uint8 `images` (B, channels, H, W).

        Equals `encode(images / 255)` up to rounding, in one conversion and two passes in place.
        """
        if self.zca is not None:
            return self.zca.whiten(images.float().div_(255))
        mean, std = self._columns(images)
        # addcmul would be one pass, but took 5 times as long as these two (it doesn't vectorise
        # over broadcast channels), and could round differently from one thread count to another.
        return images.float().mul_(1 / (255 * std)).add_(-mean / std)

    def valid_range(self) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest input a pixel can have, each (1, channels, 1, 1).

        Raises:
            DdkitError: the space is ZCA, where every input mixes many pixels.
        """
        if self.zca is not None:
            raise DdkitError(
                "ZCA inputs have no range per channel, for each mixes many pixels: "
                "clip decoded pixels to [0, 1] instead, or use the input space 'standard'"
            )
        black = torch.zeros(1, len(self.mean), 1, 1, device=self.mean.device)
        return self.encode(black), self.encode(black + 1)

    def to(self, device: torch.device | str) -> "InputSpace":
        """Return the same space on `device`."""
        zca = None if self.zca is None else self.zca.to(device)
        return InputSpace(sent(self.mean, device), sent(self.std, device), zca)

    def tensors(self) -> dict[str, Tensor]:
        """Return what must be stored for `from_tensors`, by name."""
        stored = {"space.mean": self.mean, "space.std": self.std}
        if self.zca is not None:
            stored["space.zca.mean"] = self.zca.mean
            stored["space.zca.matrix"] = self.zca.matrix
            stored["space.zca.inverse"] = self.zca.inverse
        return stored

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "InputSpace":
        """Return the space that `tensors` stores; other names in it are left alone.

        Raises:
            DdkitError: a name is missing.
        """
        names = ["space.mean", "space.std"]
        whitening = ["space.zca.mean", "space.zca.matrix", "space.zca.inverse"]
        whitened = any(name in tensors for name in whitening)
        for name in names + whitening * whitened:
            if name not in tensors:
                raise DdkitError(f"stored input space lacks '{name}': the file is incomplete")
        zca = Zca(*(tensors[name] for name in whitening)) if whitened else None
        return cls(tensors["space.mean"], tensors["space.std"], zca)

    def fingerprint(self) -> str:
        """Return a hash of all constants: equal spaces, equal fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self.tensors().items():
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _columns(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std, each (channels, 1, 1), where `images` are; double if they are."""
        if images.shape[1] != len(self.mean):
            raise DdkitError(
                f"images with {images.shape[1]} channels don't fit an input space "
                f"of {len(self.mean)}"
            )
        dtype = images.dtype if images.is_floating_point() else torch.float32
        mean, std = (t.to(images.device, dtype).view(-1, 1, 1) for t in (self.mean, self.std))
        return mean, std


def _statistics(images: Pixels) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every channel, from exact counts of the 256 values.

    A channel that is constant gets a std of 1, so that it becomes 0 instead of NaN.
    """
    counts = torch.tensor(images.remember("counts", lambda: _counts(images).tolist()))
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    std = variance.sqrt().where((counts > 0).sum(1) > 1, 1.0)
    return mean.float(), std.float()


def _counts(images: Pixels) -> Tensor:
    """Return how often each value stands in each channel, int64 (channels, 256)."""
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in images.chunks():
        for channel in range(channels):
            values = chunk[:, channel].reshape(-1).cpu()
            counts[channel] += torch.bincount(values, minlength=256)
    return counts
