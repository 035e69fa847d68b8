"""What is compared: the matrix of a bench, from flags or a TOML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ddkit.bench.ranking import FAMILY
from ddkit.data.options import DataOptions
from ddkit.evaluation.protocols import PROTOCOLS
from ddkit.methods.own import OWN
from ddkit.methods.plugin import lookup
from ddkit.networks import parse
from ddkit.runtime.arithmetic import Compiled, Precision
from ddkit.runtime.errors import unknown
from ddkit.runtime.settings import Strict, read_toml, validated

NONE = "none"  # no selection baseline

TaskName = Literal["accuracy", "continual", "ranking", "imbalanced"]
DEFAULTS = {"methods": ("random", "teddy", "tesla", "apm")}
SMALLER = {"digits": "convnet:width=64"}  # the network of all presets for digits
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "ranking": {"networks": FAMILY, "protocols": ("dsa",), "selection": NONE},
    "continual": {"protocols": ("dsa",)},
}
IMBALANCE = (0.4, 1.0)  # the stronger of Teddy's two, appendix C.1


def _named(value: Any) -> Any:
    """Accept data sets by name alone."""
    if isinstance(value, list | tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    return value


class Variant(Strict):
    """A method under a name of its own, with other settings."""

    method: str
    settings: tuple[str, ...] = Field((), description='as for --set: "key=value"')
    preset: str | None = None
    network: str | None = None
    factor: int | None = Field(None, ge=1, description="of multi-formation")


class BenchConfig(Strict):
    """A bench: every method on every data set, at every ipc, over all seeds."""

    methods: tuple[str, ...] = Field(min_length=1, description="names, aliases or variants")
    variants: dict[str, Variant] = Field({}, description="methods with other settings")
    data: Annotated[tuple[DataOptions, ...], BeforeValidator(_named)] = (DataOptions(),)
    ipc: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    network: str | None = Field(None, description="distilled with; each method's own if not said")
    networks: tuple[str, ...] = Field((), description="trained on the sets and tested")
    protocols: tuple[str, ...] = ("dsa", "plain", OWN)
    epochs: int | None = Field(None, ge=1, description="of every protocol, instead of its own")
    seeds: int = Field(1, ge=1, description="distillation seeds")
    evaluation_seeds: int = Field(3, ge=1, description="networks trained per set and protocol")
    selection: str = Field("herding", description="the selection baseline; none: no such")
    real: bool = Field(True, description="networks trained on all real data as well")
    tune: bool = Field(False, description="every set's learning rate is chosen on the holdout")
    budget_minutes: float | None = Field(
        None, gt=0, description="the same time of synthesis for every method, for each set"
    )
    task: TaskName = "accuracy"
    device: str | None = None
    precision: Precision | None = Field(None, description="of all runs and networks, on CUDA")
    compile: Compiled | None = Field(None, description="torch.compile for pools, on CUDA")
    threads: int = Field(1, ge=1, description="of each worker")

    @model_validator(mode="after")
    def _check_names(self) -> "BenchConfig":
        """Find wrong names before any work; raises `DdkitError`."""
        for name in (*self.methods, *self.variants):
            lookup(self.variant(name).method)
        own = [variant.network for variant in self.variants.values()]
        for network in (*self.networks, self.network, *own):
            if network is not None:
                parse(network)
        for protocol in self.protocols:
            if protocol != OWN:
                PROTOCOLS.load(protocol)
        if self.selection != NONE:
            lookup(self.selection)
        for name in ("methods", "data", "ipc", "networks", "protocols"):
            said = getattr(self, name)
            if len(set(said)) < len(said):
                raise ValueError(f"{name} names something twice: {', '.join(map(str, said))}")
        return self

    def networks_for(self, data: DataOptions) -> tuple[str, ...]:
        """Return what is trained on the sets of these data."""
        return self.networks or (SMALLER.get(data.name, "convnet"),)

    @property
    def recipe(self) -> str:
        """What is not as the protocols say, in words; empty where nothing is."""
        parts = [
            f"{self.epochs} epochs" if self.epochs else "",
            "tuned" if self.tune else "",
            "imbalanced" if self.task == "imbalanced" else "",
            f"precision {self.precision}" if self.precision else "",
            f"{self.budget_minutes:g} min of synthesis" if self.budget_minutes else "",
        ]
        return ", ".join(part for part in parts if part)

    def variant(self, name: str) -> Variant:
        """Return what a name in `methods` stands for."""
        return self.variants.get(name) or Variant(method=name)


def read_config(
    path: Path | None, said: Mapping[str, Any], settings: Mapping[str, Sequence[str]] | None = None
) -> BenchConfig:
    """Return the bench of a TOML file with what the user said over it.

    Args:
        said: fields of `BenchConfig`; None values were not said.
        settings: by method, texts as for `--set`; they win over those of the file.
    """
    values = {} if path is None else read_toml(path)
    values |= {key: value for key, value in said.items() if value is not None}
    values = {**DEFAULTS, **TASK_DEFAULTS.get(str(values.get("task")), {}), **values}
    config = validated(BenchConfig, values, "the bench" if path is None else str(path))
    variants = dict(config.variants)
    for name, more in (settings or {}).items():
        if name not in (*config.methods, config.selection):
            known = [*config.methods, config.selection]
            raise unknown("method of this bench", name, known, hint="--set METHOD.key=value")
        own = config.variant(name)
        variants[name] = own.model_copy(update={"settings": (*own.settings, *more)})
    return config.model_copy(update={"variants": variants})
