"""Typed configuration: everything that determines a result, written out resolved beside it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ddkit.data.options import DataOptions
from ddkit.labels.converting import RECIPE, LabelForm, ViewForm
from ddkit.runtime.arithmetic import Compiled, Precision
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.files import write_text
from ddkit.runtime.sizes import parse_bytes

if TYPE_CHECKING:
    from ddkit.run import Run

StageName = Literal["pool", "synthesis", "relabel", "evaluate"]
Model = TypeVar("Model", bound=BaseModel)
STAGES: tuple[StageName, ...] = ("pool", "synthesis", "relabel", "evaluate")


class Strict(BaseModel):
    """Unknown keys are refused, values never change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class MethodOptions(Strict):
    """The options of a method; a plugin's `method_config` returns a subclass."""

    default_network: ClassVar[str | None] = None
    """The network of a run that names none; None where the method has no preference."""

    cuts_itself: ClassVar[bool] = False
    """Whether the method cuts the set into independent parts by itself, and needs no --groups."""

    keeps_budget: ClassVar[bool] = False
    """Whether the method can keep to `memory_budget`; others refuse to have one."""

    provides: ClassVar[tuple[str, ...]] = ()
    """The roles of the members of the pool that the method builds."""

    needs: ClassVar[Mapping[StageName, tuple[str, ...]]] = {}
    """For each stage the roles it can work with, one of which its pool must have; none: any."""

    steps_option: ClassVar[str | None] = None
    """The option that says how many steps the synthesis takes; None where it takes none."""

    batch_option: ClassVar[str | None] = None
    """The option that says how many images a step works on, 0 for all; None where none does."""

    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {}
    """For each stage the options of which smaller values take less memory, the first the most."""

    kept_option: ClassVar[str | None] = None
    """The option that says of how many inner loops a step keeps more than of others."""

    @property
    def inner_loop(self) -> tuple[str, int] | None:
        """The option that counts the inner loops of a step, and a small number of them.

        None where a step has none. Time and memory of a step must be lines in that number, up to
        what `kept_option` says and beyond: a rehearsal takes the small one and twice as many.
        """
        return None

    @property
    def labels_epochs(self) -> bool:
        """Whether `label_epochs` makes the labels, which may then be stored as a recipe."""
        return False

    @property
    def looks_at_classes(self) -> bool:
        """Whether the pool needs real images of each class, and not just of some."""
        return False

    @property
    def real_per_class(self) -> int:
        """The real images of each class that a step of the synthesis looks at, at most."""
        return 0

    def for_ipc(self, ipc: int) -> "MethodOptions":
        """Return the options, with those settled that follow from the images per class."""
        return self

    def measured(self, run: "Run") -> Mapping[str, Any]:
        """Return options as a run would settle them by measuring; it is rehearsed with these."""
        return {}

    def rehearsed(self) -> Mapping[str, Any]:
        """Return options that give a small pool and few labels, with steps as they are.

        A run is estimated by doing it so, and by scaling what that took by `work` and `volume`.
        """
        return {}

    def work(self, stage: StageName, per_epoch: int) -> float:
        """Return how much the stage "pool" or "relabel" has to do, in a unit of the method's own.

        `per_epoch` is the number of batches that an epoch on the real data has.
        """
        return 1.0

    def volume(self, stage: StageName) -> float:
        """Return how much the stage "pool" or "relabel" writes, in a unit of the method's own."""
        return 1.0

    def check(self, run: "Run") -> None:
        """Raise `DdkitError` where a run's synthesis cannot work; called before work begins."""


def option(
    default: Any, help: str, *, stages: tuple[StageName, ...] = STAGES, **bounds: Any
) -> Any:
    """Declare one option of a method, for `MethodOptions` subclasses.

    Args:
        default: its value when neither preset nor user gives one.
        help: what it does, one sentence, shown by `ddkit methods`.
        stages: the stages it matters to. An option that leaves out "pool" does not make a cached
            pool useless when it changes. When in doubt, leave it at all stages.
        bounds: pydantic's own, such as `ge=1`.
    """
    return Field(default, description=help, json_schema_extra={"stages": list(stages)}, **bounds)


class StageConfig(Strict):
    """Which plugin runs a stage, and with which (resolved) options."""

    plugin: str
    options: dict[str, Any] = {}


class RunConfig(Strict):
    """A whole run, resolved: `ddkit distill --config` repeats it."""

    method: str = Field(description="the method as the user named it, perhaps an alias")
    plugin: str = Field(description="the plugin that the method's name stands for")
    ipc: int = Field(ge=1, description="synthetic images per class")
    seed: int = Field(0, ge=0, description="the distillation seed")
    pool_seed: int = Field(0, ge=0, description="the seed of the pool's training")
    network: str = Field("convnet", description="the network that the pool is trained with")
    init: str = Field("real", description='"real", "noise" or an artifact to start from')
    data: DataOptions = DataOptions()
    options: dict[str, Any] = Field({}, description="the method's options, all of them")
    pool: str | None = Field(None, description="a finished pool, by name or folder, for all stages")
    pool_from: StageConfig | None = None
    relabel_from: StageConfig | None = None
    evaluate_from: StageConfig | None = None
    preset: str | None = Field(None, description="the preset that was applied, with its source")
    protocol: dict[str, Any] = Field({}, description="what evaluation changes in protocol `soft`")
    groups: int = Field(1, ge=1, description="parts that are distilled apart and merged")
    memory_budget: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(
        None, gt=0, description="bytes that a step of the synthesis may take, such as 6.5GB"
    )
    store: Literal["auto", "uint8", "float16", "float32"] = Field(
        "auto", description="how images are stored: auto is uint8 where they are valid pixels"
    )
    labels_as: LabelForm = Field(
        "auto",
        description="how soft labels are stored: auto (as the method made them), fp16, int8, "
        "top-k:K, or recipe (made while training)",
    )
    label_views: ViewForm = Field(
        "auto", description="augmentations of labelled images: a seed where they follow from one"
    )
    device: str = "cpu"
    precision: Precision | Literal["auto"] = Field(
        "auto", description="of networks: auto is float32 on a CPU, the fastest on CUDA (measured)"
    )
    compile: Compiled = Field(
        "auto", description="torch.compile for pools: auto is off on a CPU, measured on CUDA"
    )
    threads: int = Field(1, ge=1, description="threads of each unit of work; they change last bits")

    @model_validator(mode="after")
    def _has_groups_of_images(self) -> "RunConfig":
        if self.groups > self.ipc:
            raise ValueError(
                f"--groups {self.groups} is more than the {self.ipc} images per class: a group "
                "holds one image per class at least"
            )
        return self

    @model_validator(mode="after")
    def _has_one_form(self) -> "RunConfig":
        if self.labels_as == RECIPE and self.label_views == "stored":
            raise ValueError("--labels-as recipe draws its views: leave --label-views stored out")
        return self

    @model_validator(mode="after")
    def _has_one_pool(self) -> "RunConfig":
        if self.pool is not None and self.pool_from is not None:
            raise ValueError(
                "--pool names a finished pool, --pool-from and --set pool.KEY=… say how one is "
                "trained: leave one of them out"
            )
        return self

    def stage(self, name: StageName) -> StageConfig:
        """Return who runs a stage: the method itself unless another plugin was named for it."""
        chosen = {
            "pool": self.pool_from,
            "relabel": self.relabel_from,
            "evaluate": self.evaluate_from,
        }.get(name)
        return chosen or StageConfig(plugin=self.plugin, options=self.options)

    def pool_stage(self, name: StageName) -> StageConfig:
        """Return whose pool a stage works with: the named one, else the stage's own plugin's."""
        return self.pool_from or self.stage(name)

    def to_toml(self) -> str:
        """Return the configuration as TOML, which has no null: such keys are listed as unset."""
        unset: list[str] = []
        values = _without_none(self.model_dump(mode="json"), (), unset)
        return tomli_w.dumps({"unset": unset, **values})

    def save(self, path: Path) -> None:
        """Write the configuration as TOML to `path`, whole or not at all."""
        write_text(path, self.to_toml())


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `DdkitError` where it is missing or broken."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DdkitError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DdkitError(f"{path} is no valid TOML: {error}") from error


def load_config(path: Path) -> RunConfig:
    """Read a resolved configuration that `RunConfig.save` wrote."""
    values = read_toml(path)
    for name in values.pop("unset", []):
        *parents, key = str(name).split(".")
        table = values
        for parent in parents:
            table = table.setdefault(parent, {})
        table[key] = None
    return validated(RunConfig, values, str(path))


def validated(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Return `values` as a `model`; the first thing wrong becomes a one-line `DdkitError`."""
    for key in values:
        if key not in model.model_fields:
            raise unknown("option", key, model.model_fields, hint=where)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors()
        path, message = found[0]["loc"], found[0]["msg"].removeprefix("Value error, ")
        one_of_several = len(path) > 1 and isinstance(path[-1], str)  # under a type's name
        if one_of_several and not isinstance(_at(values, path[:-1]), Mapping):
            path = path[:-1]
            tried = [each["msg"] for each in found if each["loc"][:-1] == path]
            message = " or ".join(
                [tried[0], *(text.removeprefix("Input should be ") for text in tried[1:])]
            )
        first, key = found[0], ".".join(map(str, path))
        value = f" (got {first['input']!r})" if not isinstance(first["input"], dict) else ""
        which = f"option '{key}' of {where}" if key else f"the options of {where}"
        raise DdkitError(f"{which}: {message}{value}") from error


def _at(values: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path of keys and positions, None where there is none."""
    for key in path:
        try:
            values = values[key]
        except (LookupError, TypeError):
            return None
    return values


def parse_setting(text: str) -> tuple[str, Any]:
    """Split "key=value"; the value is read as TOML where it is TOML and as a string otherwise."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise DdkitError(f"'--set {text}' is not of the form key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return key.strip(), parsed


def _without_none(value: dict[str, Any], path: tuple[str, ...], unset: list[str]) -> dict[str, Any]:
    """Return nested tables without their keys of value None, whose dotted names go to `unset`."""
    kept = {}
    for key, item in value.items():
        if item is None:
            unset.append(".".join((*path, key)))
        else:
            nested = isinstance(item, dict)
            kept[key] = _without_none(item, (*path, key), unset) if nested else item
    return kept
