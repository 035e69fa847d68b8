"""Coded logits, which labels use as they use a tensor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddkit.labels.codecs import Codec, Parts, codec_named
from ddkit.runtime.moving import sent

PLAIN = {torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64"}


@dataclass(frozen=True, eq=False)
class Coded:
    """Logits (…, classes) as a codec stores them; labels use it as they use a tensor.

    Attributes:
        parts: the codec's tensors, all with the same leading dimensions.
        classes: how many, which top-k does not say.
    """

    codec: Codec
    parts: Parts
    classes: int

    @property
    def shape(self) -> torch.Size:
        (name, (_, tail)), *_ = self.codec.layout(self.classes).items()
        part = self.parts[name]
        return torch.Size((*part.shape[: part.ndim - len(tail)], self.classes))

    @property
    def device(self) -> torch.device:
        return next(iter(self.parts.values())).device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> "Coded":
        """Return the vectors at an index into the leading dimensions, still coded."""
        return self._changed(lambda part: part[index])

    def float(self) -> Tensor:
        """Return float32 logits (…, classes), up to a constant for each vector."""
        return self.codec.decode(self.parts, self.classes)

    def to(self, device: torch.device) -> "Coded":
        return self._changed(lambda part: sent(part, device))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Coded":
        parts = {name: change(part) for name, part in self.parts.items()}
        return Coded(self.codec, parts, self.classes)


Logits = Tensor | Coded


def sent_logits(logits: Logits, device: torch.device) -> Logits:
    """Return logits on a device, as `sent` does a tensor."""
    return sent(logits, device) if isinstance(logits, Tensor) else logits.to(device)


def form_of(logits: Logits) -> str:
    """Return how logits are stored: "fp16", "fp32", or the name of their codec."""
    return PLAIN[logits.dtype] if isinstance(logits, Tensor) else logits.codec.name


def encoded(logits: Logits, form: str, temperature: float) -> Logits:
    """Return logits in a form ("fp16", "int8", "top-k:K"); in their own they stay as they are.

    Labels of epochs (epochs, N, classes) are decoded one epoch at a time.
    """
    if form == form_of(logits):
        return logits
    codec = codec_named(form)

    def change(vectors: Tensor) -> Logits:
        if codec is None:
            return vectors.half()
        return Coded(codec, codec.encode(vectors, temperature), vectors.shape[-1])

    if len(logits.shape) == 2:
        return change(logits.float())
    return combined([change(logits[epoch].float()) for epoch in range(len(logits))], torch.stack)


def combined(pieces: Sequence[Logits], join: Callable[[list[Tensor]], Tensor]) -> Logits:
    """Return pieces of one form as one: `join` is called with each tensor of all of them."""
    first = pieces[0]
    if isinstance(first, Tensor):
        return join([piece for piece in pieces if isinstance(piece, Tensor)])
    coded = [piece for piece in pieces if isinstance(piece, Coded)]
    parts = {name: join([piece.parts[name] for piece in coded]) for name in first.parts}
    return Coded(first.codec, parts, first.classes)


def decoded(logits: Logits) -> Tensor:
    """Return a tensor (…, classes): plain logits as they are, coded ones as float32."""
    return logits if isinstance(logits, Tensor) else logits.float()


def tensors_of(logits: Logits, name: str) -> dict[str, Tensor]:
    """Return what is stored of logits: a tensor of that `name`, or several `name`.part."""
    if isinstance(logits, Tensor):
        return {name: logits}
    return {f"{name}.{part}": tensor for part, tensor in logits.parts.items()}


def about_logits(logits: Logits) -> dict[str, Any]:
    """Return what an artifact says of coded logits; plain ones are a tensor and need no word."""
    return (
        {} if isinstance(logits, Tensor) else {"form": form_of(logits), "classes": logits.classes}
    )


def read_logits(tensors: Parts, name: str, about: Mapping[str, Any]) -> Logits:
    """Return the logits of `tensors_of` and `about_logits`."""
    codec = codec_named(about["form"]) if "form" in about else None
    if codec is None:
        return tensors[name]
    parts = {part: tensors[f"{name}.{part}"] for part in codec.layout(about["classes"])}
    return Coded(codec, parts, about["classes"])
