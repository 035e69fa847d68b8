"""The options of SRe²L++ and CV-DD: several architectures, their weights, batches of labels."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from ddkit import MethodOptions, StageName, option, parse_network

POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
RELABEL: tuple[StageName, ...] = ("relabel",)


def split(value: Any) -> Any:
    """Return the parts of a text with commas, anything else as it is."""
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def split_pairs(value: Any) -> Any:
    """Return "spec:path,spec:path" as pairs; a spec may have colons of its own, a path has none."""
    parts = split(value)
    if isinstance(value, str):
        return [tuple(part.rpartition(":")[::2]) for part in parts]
    return parts


class CommitteeOptions(MethodOptions):
    """Defaults leave Teddy as it is; those of the weights are CV-DD's."""

    networks: Annotated[tuple[str, ...], BeforeValidator(split)] = option(
        (),
        "committee: the networks that are trained, comma-separated; default: the run's, unless "
        "bases names some",
        stages=POOL,
    )
    bases: Annotated[tuple[tuple[str, str], ...], BeforeValidator(split_pairs)] = option(
        (),
        "committee: members that are trained already, comma-separated, each NETWORK:FILE with "
        "weights as `base` has them; networks of that name are not trained",
        stages=POOL,
    )
    weights: Literal["equal", "random", "holdout"] = option(
        "equal",
        "how the losses of the members of a step count: equally, at random in each step, or by "
        "their accuracy on the holdout, which then weights them in the labels too",
        stages=("synthesis", "relabel"),
    )
    weight_temperature: float = option(
        5.0,
        "points of holdout accuracy by which a member counts e times as much in a step",
        stages=SYNTHESIS,
        gt=0,
    )
    label_weight_temperature: float = option(10.0, "the same in the labels", stages=RELABEL, gt=0)

    label_statistics: Literal["running", "batch"] = option(
        "running",
        "what members normalise with while they label each epoch: their running statistics, or "
        "those of the batch that is labelled",
        stages=RELABEL,
    )
    label_batch: int = option(
        16,
        "label_statistics=batch: images of such a batch, drawn in each epoch",
        stages=RELABEL,
        ge=2,
    )

    @property
    def trained(self) -> Sequence[str]:
        """The specs of the networks of a committee that are trained here."""
        given = [parse_network(spec) for spec, _ in self.bases]
        return [spec for spec in self.networks if parse_network(spec) not in given]

    @property
    def committee(self) -> Sequence[str]:
        """The specs of a committee's networks, those trained here first; none: the run's."""
        return [*self.trained, *(spec for spec, _ in self.bases)]

    @model_validator(mode="after")
    def _named(self) -> Self:
        for spec in self.committee:
            if parse_network(spec).path is not None:
                raise ValueError(f"a committee takes networks by name, not from a file ({spec})")
        return self
