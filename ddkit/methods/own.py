"""Each method's own recipe: the protocol by which its authors evaluate, with what they change."""

from collections.abc import Mapping
from typing import Any

from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.accuracy import own_protocol_name, protocol_for
from ddkit.evaluation.protocols import PROTOCOLS, Protocol
from ddkit.labels.codecs import codec_named
from ddkit.methods.options import MethodOptions
from ddkit.training.recipe import Recipe

OWN = "own"  # what flags and tables call it


def own_recipe(
    options: MethodOptions, preset: Mapping[str, Any], distilled: DistilledDataset
) -> Protocol:
    """Return how a method's authors train networks on a set such as this.

    Where the method does not say, or the set has labels that its protocol cannot train towards,
    that is the protocol for their kind.

    Args:
        options: of the stage "evaluate".
        preset: what the preset changes of a protocol for the set's own labels.
    """
    name, changes = options.own_protocol or (None, {})
    if name is None or not _fits(protocol_for(name), distilled):
        name, changes = own_protocol_name(distilled), {}
    protocol = protocol_for(name)
    return protocol.with_recipe(**{**changes, **(preset if protocol.labels == "own" else {})})


def planned_recipe(options: MethodOptions, preset: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a method's own, before there is a set.

    Where the method does not say, that for soft labels.
    """
    name, changes = options.own_protocol or ("soft", preset)
    return protocol_for(name).with_recipe(**changes).recipe


def in_words(protocol: Protocol) -> str:
    """Return a protocol's name, and what its recipe does not do as the core's: "l1, lr 0.1"."""
    usual = PROTOCOLS.load(protocol.name).recipe.model_dump()
    changed = {k: v for k, v in protocol.recipe.model_dump().items() if v != usual.get(k)}
    return ", ".join([protocol.name, *(f"{k.replace('_', ' ')} {v}" for k, v in changed.items())])


def _fits(protocol: Protocol, distilled: DistilledDataset) -> bool:
    """Return whether a set has the labels that a protocol trains towards; l1 needs exact ones."""
    if protocol.labels != "own":
        return True
    exact = codec_named(distilled.labels.form) is None
    return distilled.labels.kind not in ("hard", "targets") and (exact or protocol.loss != "l1")
