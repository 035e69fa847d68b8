"""Ways to store logits in fewer bytes.

Softmax is invariant to a constant that is added to all classes, so none is stored: what is decoded
has the distribution of what was encoded, and not its logits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ddkit.runtime.errors import DdkitError

LEVELS = 254  # of int8: -127 … 127, symmetric about the middle of a vector
Parts = Mapping[str, Tensor]


class Codec(ABC):
    """A way to store logits (…, classes): as tensors that share their leading dimensions."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What a user calls it."""

    @abstractmethod
    def layout(self, classes: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return the type of each tensor, and its shape behind the leading dimensions."""

    @abstractmethod
    def encode(self, logits: Tensor, temperature: float) -> dict[str, Tensor]:
        """Return float32 logits (…, classes) as tensors; `temperature` is that of the loss."""

    @abstractmethod
    def decode(self, parts: Parts, classes: int) -> Tensor:
        """Return float32 logits (…, classes), up to a constant for each vector."""


@dataclass(frozen=True)
class Int8(Codec):
    """A byte per class and a step per vector: each logit is off by half a step at most."""

    @property
    def name(self) -> str:
        return "int8"

    def layout(self, classes: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        return {"codes": (torch.int8, (classes,)), "step": (torch.float16, ())}

    def encode(self, logits: Tensor, temperature: float) -> dict[str, Tensor]:
        low, high = logits.aminmax(dim=-1, keepdim=True)
        # a little up, so that what float16 makes of it is never too small, nor 0
        step = ((high - low) / LEVELS * (1 + 2**-10) + 2**-24).half()
        codes = ((logits - (low + high) / 2) / step.float()).round()
        return {"codes": codes.to(torch.int8), "step": step.squeeze(-1)}

    def decode(self, parts: Parts, classes: int) -> Tensor:
        return parts["codes"].float() * parts["step"].float().unsqueeze(-1)


@dataclass(frozen=True)
class TopK(Codec):
    """The k largest logits and their classes; the others share what probability is left, evenly.

    Stored is how far the k are above the level of the others. That level is such that at the
    temperature of the loss each of the k keeps its probability: for k = 1 and logits (4, 2, 0) at
    T = 2, e^(r/2) = (e + 1) / 2, r = 1.24, and 2.76 is stored. At other temperatures the
    probabilities of the k are slightly others.
    """

    k: int

    @property
    def name(self) -> str:
        return f"top-k:{self.k}"

    def layout(self, classes: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        small = torch.uint8 if classes <= 256 else torch.int16 if classes <= 2**15 else torch.int32
        return {"classes": (small, (self.k,)), "values": (torch.float16, (self.k,))}

    def encode(self, logits: Tensor, temperature: float) -> dict[str, Tensor]:
        check_codec(self, logits.shape[-1])
        top, classes = logits.topk(self.k)
        others = (logits / temperature).scatter(-1, classes, -torch.inf)
        count = torch.tensor(logits.shape[-1] - self.k, dtype=logits.dtype)
        level = temperature * (others.logsumexp(-1, keepdim=True) - count.log())
        small, _ = self.layout(logits.shape[-1])["classes"]
        return {"classes": classes.to(small), "values": (top - level).half()}

    def decode(self, parts: Parts, classes: int) -> Tensor:
        values = parts["values"].float()
        zeros = values.new_zeros((*values.shape[:-1], classes))
        return zeros.scatter(-1, parts["classes"].long(), values)


def codec_named(name: str) -> Codec | None:
    """Return the codec "int8" or "top-k:K", and None for any other name."""
    kind, _, k = name.partition(":")
    if kind == "top-k" and k.isdecimal() and int(k) > 0:
        return TopK(int(k))
    return Int8() if name == "int8" else None


def check_codec(codec: Codec, classes: int) -> None:
    """Raise `DdkitError` for a codec that leaves no class out that it should."""
    if isinstance(codec, TopK) and codec.k >= classes:
        raise DdkitError(
            f"{codec.name} of {classes} classes leaves none out: choose a smaller K, or int8"
        )
