"""Typed configuration: everything that determines a result, written out resolved beside it."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ddkit.data.options import DataOptions
from ddkit.flags import CommonFlags
from ddkit.runtime.files import write_text
from ddkit.runtime.flag import later
from ddkit.runtime.settings import Growing, Strict, read_toml, validated
from ddkit.runtime.sizes import parse_bytes

RECIPE = "recipe"
FORMS = "auto, fp16, int8, top-k:K (such as top-k:3) or recipe"
FORM = re.compile(r"auto|fp16|int8|recipe|top-k:[1-9]\d*")


def known_form(form: str) -> str:
    """Return `form`; raises `ValueError` for a name that is none."""
    if FORM.fullmatch(form):
        return form
    raise ValueError(f"labels can be stored as {FORMS}")


LabelForm = Annotated[str, AfterValidator(known_form)]
StageName = Literal["pool", "synthesis", "relabel", "evaluate"]
STAGES: tuple[StageName, ...] = ("pool", "synthesis", "relabel", "evaluate")


class StageConfig(Strict):
    """Which plugin runs a stage, and with which (resolved) options."""

    plugin: str
    options: dict[str, Any] = Field({})


class RunConfig(Strict, Growing, CommonFlags):
    """A whole run, resolved: `ddkit distill --config` repeats it.

    Most of its fields are flags, with their bounds and defaults: see `CommonFlags`.
    """

    later: ClassVar[frozenset[str]] = later(CommonFlags) | {"fitted"}

    method: str = Field(description="the method as the user named it, perhaps an alias")
    plugin: str = Field(description="the plugin that the method's name stands for")
    data: DataOptions = DataOptions()
    options: dict[str, Any] = Field({}, description="the method's options, all of them")
    pool_from: StageConfig | None = None
    relabel_from: StageConfig | None = None
    evaluate_from: StageConfig | None = None
    preset: str | None = Field(None, description="the preset that was applied, with its source")
    protocol: dict[str, Any] = Field({}, description="what evaluation changes in protocol `soft`")
    memory_budget: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(None, gt=0)
    labels_as: LabelForm = "auto"
    fitted: dict[str, Any] = Field(
        {}, description="options that were lowered to fit `minutes`, as they were asked for"
    )

    @model_validator(mode="after")
    def _has_groups_of_images(self) -> "RunConfig":
        if self.groups > self.ipc:
            raise ValueError(
                f"--groups {self.groups} is more than the {self.ipc} images per class: a group "
                "holds at least one image per class"
            )
        return self

    @model_validator(mode="after")
    def _has_one_form(self) -> "RunConfig":
        if self.labels_as == RECIPE and self.label_views == "stored":
            raise ValueError("--labels-as recipe draws its views: leave out --label-views stored")
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
        first = {"unset": unset, "method": self.method, "plugin": self.plugin}
        return tomli_w.dumps(first | values)

    def save(self, path: Path) -> None:
        """Write the configuration as TOML to `path`, whole or not at all."""
        write_text(path, self.to_toml())


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
