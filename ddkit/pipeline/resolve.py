"""From what the user said to a whole `RunConfig`: defaults, preset, configuration file, flags."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ddkit.config import RECIPE, RunConfig, StageConfig, StageName
from ddkit.data.options import DataOptions
from ddkit.data.sources.load import peek, with_one_size
from ddkit.data.sources.names import SIZES
from ddkit.methods.plugin import Alias, lookup, options_model, options_of, steps_setting
from ddkit.methods.presets import find_preset
from ddkit.pools import named
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.machine import available_cores
from ddkit.runtime.settings import parse_setting, validated

Note = Callable[[str], None]
"""What hears a line that a user should read."""


def _unsaid(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Request:
    """What was asked for. None means: not said, so that a preset or a default decides.

    `common` holds fields of `RunConfig`, `data` fields of `DataOptions`, `settings` the texts of
    `--set`: "key=value" for the method, "stage.key=value" for another stage's plugin; or a mapping
    of such keys to values. `steps` is the number for the method's own option that counts them.
    """

    method: str
    common: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Iterable[str] | Mapping[str, Any] = ()
    preset: str | None = None
    sources: Mapping[StageName, str | None] = field(default_factory=dict)
    steps: int | None = None


def resolve(request: Request, note: Note = _unsaid) -> RunConfig:
    """Return the whole configuration of a run; raises `DdkitError` for what does not fit.

    Later ones win: the method's defaults, its alias, the preset, the pool, what the user said.
    A preset that only bears the name of the data is not taken, and `note` hears of it.
    """
    plugin, alias = lookup(request.method)
    common = {key: value for key, value in request.common.items() if value is not None}
    data = {key: value for key, value in request.data.items() if value is not None}
    ipc = common.get("ipc", 1)
    if not isinstance(ipc, int) or ipc < 1:
        raise DdkitError(f"ipc must be 1 or more (got {ipc}): it counts the images per class")
    options = validated(DataOptions, data, "the data set")
    preset = find_preset(request.method, plugin, alias, options.tag, ipc, request.preset)
    if request.preset is None:
        preset = _fitting(preset, options, note)
    if "resize" not in preset.get("data", {}):
        options = with_one_size(options, note)
        data |= {} if options.resize is None else {"resize": options.resize}
    settings = _by_stage(request.settings)
    if request.steps is not None:
        name, count = steps_setting(request.method, request.steps)
        if name in settings["synthesis"]:
            raise DdkitError(f"--steps {count} is --set {name}={count}: give one of the two")
        settings["synthesis"][name] = count

    layers = [_alias_options(alias), preset.get("options", {}), settings["synthesis"]]
    own = _stage(plugin, layers, ipc)
    replaceable: tuple[StageName, ...] = ("pool", "relabel", "evaluate")
    others = {
        f"{stage}_from": _other_stage(
            request.sources.get(stage), options, ipc, own, settings[stage], note
        )
        for stage in replaceable
    }
    seed = common.get("seed", 0)
    values: dict[str, Any] = {
        "network": default_network(plugin, request.sources),
        **({"init": alias.init} if alias and alias.init else {}),
        **({"factor": alias.factor} if alias else {}),
        **{key: preset[key] for key in ("network", "init", "factor") if key in preset},
        **finished_pool(common.get("pool")),
        "pool_seed": seed,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": available_cores(),
        **{key: value for key, value in common.items() if key != "pool"},
        "method": request.method,
        "plugin": plugin,
        "ipc": ipc,
        "data": {**preset.get("data", {}), **pool_space(common.get("pool")), **data},
        "options": own.options,
        "preset": preset.get("name"),
        "protocol": preset.get("protocol", {}),
        **others,
    }
    config = validated(RunConfig, values, "the run")
    _check_abilities(config)
    return config


def _check_abilities(config: RunConfig) -> None:
    """Raise `DdkitError` where a run asks for what its methods cannot do."""
    _check_roles(config)
    _check_labels(config)
    model = options_model(config.plugin)
    if config.groups > 1 and model.makes_own_shards:
        raise DdkitError(
            f"--groups: the method '{config.method}' already divides the set into independent parts"
        )
    if config.memory_budget is not None and not model.keeps_budget:
        raise DdkitError(
            f"--memory-budget: the method '{config.method}' cannot adapt to one; see `ddkit "
            f"methods {config.method}` for options such as batch sizes"
        )


def _check_labels(config: RunConfig) -> None:
    """Raise `DdkitError` where who labels makes none that can be stored as asked for."""
    stage = config.stage("relabel")
    if config.labels_as == RECIPE and not options_of(stage).labels_epochs:
        raise DdkitError(
            f"--labels-as recipe: '{stage.plugin}' makes no labels for every epoch, with these "
            "options, that could be made again while training; choose int8 or another form"
        )


def _check_roles(config: RunConfig) -> None:
    """Raise `DdkitError` where a stage could not work with the pool that another method trains."""
    stages: tuple[StageName, ...] = ("synthesis", "relabel")
    for stage in stages if config.pool is None else ():
        user, source = config.stage(stage).plugin, config.pool_stage(stage).plugin
        needed = options_model(user).needs.get(stage, ())
        provided = options_model(source).provides
        if needed and provided and not set(needed) & set(provided):
            raise DdkitError(
                f"the {stage} of '{user}' needs members of the role {' or '.join(needed)}, but "
                f"the pool of '{source}' has {' and '.join(provided)}: name another --pool-from, "
                "or leave it out"
            )


def default_network(plugin: str, sources: Mapping[StageName, str | None]) -> str:
    """Return the network of a run that names none: the method's, or that of whose pool it uses."""
    names = (plugin, sources.get("pool"), sources.get("relabel"))
    for name in names:
        preferred = options_model(lookup(name)[0]).default_network if name else None
        if preferred is not None:
            return preferred
    return "convnet"


def pool_space(name: str | None) -> dict[str, Any]:
    """Return the kind of input space of the pool that a run names: its members know no other."""
    return {} if name is None else {"space": named.space_of(name).kind}


def finished_pool(name: str | None) -> dict[str, str]:
    """Return a named pool, by its path from anywhere, and its network, which no preset changes."""
    if name is None:
        return {}
    network = named.network_of(name)
    return {"pool": named.settled(name), **({} if network is None else {"network": network})}


def with_relabel(
    config: RunConfig, source: str | None, settings: Iterable[str], note: Note = _unsaid
) -> RunConfig:
    """Return `config` with its labels made by `source` (None: as before), with other options."""
    parsed = dict(parse_setting(text) for text in settings)
    options = {key.removeprefix("relabel."): value for key, value in parsed.items()}
    chosen: StageConfig | None
    if source is None:
        stage = config.stage("relabel")
        chosen = _stage(stage.plugin, [stage.options, options], config.ipc)
    else:
        own = StageConfig(plugin=config.plugin, options=config.options)
        chosen = _other_stage(source, config.data, config.ipc, own, options, note)
    config = config.model_copy(update={"relabel_from": chosen})
    _check_labels(config)
    return config


def _stage(plugin: str, layers: Iterable[Mapping[str, Any]], ipc: int) -> StageConfig:
    """Return a stage whose options are the plugin's defaults with `layers` over them, checked."""
    merged = {key: value for layer in layers for key, value in layer.items()}
    options = validated(options_model(plugin), merged, f"the method '{plugin}'")
    return StageConfig(plugin=plugin, options=options.for_ipc(ipc).model_dump(mode="json"))


def _other_stage(
    name: str | None,
    data: DataOptions,
    ipc: int,
    own: StageConfig,
    settings: Mapping[str, Any],
    note: Note,
) -> StageConfig | None:
    """Return who runs a stage in the method's place, or None where the method does it as it is."""
    if name is None:
        return _stage(own.plugin, [own.options, settings], ipc) if settings else None
    plugin, alias = lookup(name)
    preset = _fitting(find_preset(name, plugin, alias, data.tag, ipc, None), data, note)
    return _stage(plugin, [_alias_options(alias), preset.get("options", {}), settings], ipc)


def _fitting(preset: dict[str, Any], data: DataOptions, note: Note) -> dict[str, Any]:
    """Return a preset, or none where a folder that bears its name holds other data."""
    known, found = SIZES.get(data.base), peek(data) if preset else None
    if known is None or found is None:
        return preset
    _, classes, (_, *size) = known
    differing = []
    if data.classes is None and found[0] != classes:
        differing.append(f"{found[0]} classes, not {classes}")
    if not (data.resize or preset.get("data", {}).get("resize")) and list(found[1:]) != size:
        differing.append(f"images of {found[2]}x{found[1]} pixels, not {size[1]}x{size[0]}")
    if not differing:
        return preset
    note(
        f"preset {preset['name']} is not applied, because {data.name} has "
        f"{' and '.join(differing)}: --preset applies it by name"
    )
    return {}


def _alias_options(alias: Alias | None) -> Mapping[str, Any]:
    return alias.options if alias else {}


def _by_stage(settings: Iterable[str] | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort "key=value" and "stage.key=value" texts, or such keys, by the stage they are for."""
    said = settings.items() if isinstance(settings, Mapping) else map(parse_setting, settings)
    sorted_settings: dict[str, dict[str, Any]] = {
        stage: {} for stage in ("pool", "synthesis", "relabel", "evaluate")
    }
    for key, value in said:
        stage, dot, rest = key.partition(".")
        if dot and stage in sorted_settings:
            sorted_settings[stage][rest] = value
        else:
            sorted_settings["synthesis"][key] = value
    return sorted_settings
