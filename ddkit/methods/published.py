"""What papers report, beside the presets that hold their settings, and what was measured here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from pydantic import Field

from ddkit.config import RunConfig
from ddkit.data.options import DataOptions
from ddkit.distilled.dataset import DistilledDataset
from ddkit.evaluation.accuracy import protocol_for
from ddkit.evaluation.protocols import Protocol
from ddkit.methods.options import MethodOptions
from ddkit.methods.own import own_recipe
from ddkit.methods.plugin import lookup, options_model, options_of
from ddkit.methods.presets import applied_preset
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import Strict, validated

PLACE = {"name", "image_column", "label_column"}  # where data lie is no setting


class Published(Strict):
    """A figure of a paper, in percent of the test images.

    Attributes:
        accuracy, sd: mean and standard deviation over `n` networks; None where it is not said.
        protocol, network: what was trained on the set, and how.
        where: paper, table and row.
    """

    accuracy: float = Field(gt=0, le=100)
    sd: float | None = Field(None, ge=0)
    n: int | None = Field(None, ge=1)
    protocol: str
    network: str
    where: str

    @property
    def recipe(self) -> tuple[str, str]:
        return self.protocol, self.network

    @property
    def text(self) -> str:
        """The figure as papers print it: "30.1 ± 0.4"."""
        return f"{self.accuracy:.1f}" + ("" if self.sd is None else f" ± {self.sd:.1f}")


@dataclass(frozen=True)
class Beside:
    """A published figure beside a measured one.

    Attributes:
        published: what the paper says.
        otherwise: what the run did not do as the preset says: "iterations 10 for 1000".
        accuracies: 0 … 1, of all networks that were trained.
    """

    published: Published
    otherwise: tuple[str, ...]
    accuracies: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Measured minus published, in points."""
        return 100 * fmean(self.accuracies) - self.published.accuracy

    @property
    def errors(self) -> float | None:
        """The difference in standard errors; None where the paper gives no spread.

        A single network is taken to vary as the paper's do, and a paper that does not say its n to
        have trained one.
        """
        theirs, count = self.published.sd, len(self.accuracies)
        if not theirs:
            return None
        ours = 100 * stdev(self.accuracies) if count > 1 else theirs
        return self.difference / sqrt(theirs**2 / (self.published.n or 1) + ours**2 / count)

    @property
    def text(self) -> str:
        """The published figure and the difference: "30.1 ± 0.4 (−1.2, 2.1 standard errors)"."""
        away = "" if self.errors is None else f", {abs(self.errors):.1f} standard errors"
        return f"{self.published.text} ({self.difference:+.1f}{away})".replace("-", "−")

    @property
    def source(self) -> str:
        """Where the figure stands, and what was not as there."""
        cut = f"; here {', '.join(self.otherwise)}" if self.otherwise else ""
        return f"published: {self.published.where}{cut}"

    def to_json(self) -> dict[str, Any]:
        return {
            **self.published.model_dump(),
            "otherwise": self.otherwise,
            "difference": self.difference,
            "standard_errors": self.errors,
        }


@dataclass(frozen=True)
class Told:
    """What a paper reports of a set under a recipe, and what the run did otherwise than there."""

    published: Published
    otherwise: tuple[str, ...]

    def beside(self, accuracies: Sequence[float]) -> Beside:
        return Beside(self.published, self.otherwise, tuple(accuracies))

    def to_json(self) -> dict[str, Any]:
        return {"published": self.published.model_dump(), "otherwise": list(self.otherwise)}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Told":
        return cls(Published(**values["published"]), tuple(values["otherwise"]))


def published_for(
    config: RunConfig, distilled: DistilledDataset, protocol: Protocol, network: str
) -> Told | None:
    """Return what was published for a set under just this recipe and network, if anything was.

    Args:
        protocol: the recipe, before a learned rate is put in; one that was changed is no paper's.
    """
    own = own_recipe(options_of(config.stage("evaluate")), config.protocol, distilled)
    for figure in published(config):
        theirs = own if own.name == figure.protocol else protocol_for(figure.protocol)
        if (theirs, figure.network) == (protocol, network):
            return Told(figure, tuple(departures(config)))
    return None


def published(config: RunConfig) -> list[Published]:
    """Return the figures that the preset of a run names; none where it is not there any more."""
    try:
        return figures_in(applied_preset(config.method, config.preset))
    except DdkitError:
        return []


def figures_in(preset: Mapping[str, Any]) -> list[Published]:
    """Return the figures that a preset names; raises `DdkitError` for one that is none."""
    where = f"[[published]] of the preset {preset.get('name')}"
    return [validated(Published, each, where) for each in preset.get("published", [])]


def departures(config: RunConfig) -> Iterator[str]:
    """Yield what a run does not do as its preset says: "train_epochs 10 for 30"."""
    preset = applied_preset(config.method, config.preset)
    plugin, alias = lookup(config.method)
    options: MethodOptions = validated(
        options_model(plugin),
        {**(alias.options if alias else {}), **preset.get("options", {})},
        f"the preset {config.preset}",
    )
    data = validated(DataOptions, {"name": config.data.name, **preset.get("data", {})}, "the data")
    fields = DataOptions.model_fields.keys() - PLACE
    asked: dict[str, Any] = {
        **{name: preset[name] for name in ("network", "init") if name in preset},
        "factor": preset.get("factor", alias.factor if alias else 1),
        **{name: getattr(data, name) for name in sorted(fields)},
        **dict(options.for_ipc(config.ipc)),
    }
    done: dict[str, Any] = {
        **{"network": config.network, "init": config.init, "factor": config.factor},
        **{name: getattr(config.data, name) for name in fields},
        **dict(options_of(config.stage("synthesis"))),
    }
    for name, usual in asked.items():
        if done.get(name) != usual:
            yield f"{name} {done.get(name)} for {usual}"
    for stage in ("pool", "relabel"):
        other = getattr(config, f"{stage}_from")
        if other is not None:
            yield f"{stage} of {other.plugin}"
