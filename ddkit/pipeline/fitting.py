"""A run that fits the time there is: `--minutes` lowers what the methods say, from a rehearsal."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ddkit.config import RunConfig, StageConfig, load_config
from ddkit.methods.plugin import options_of
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.plan import Plan, data_of, plan
from ddkit.pipeline.rehearse import images_seen
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.progress import Progress

SHARE = 0.8  # of the time left, that an estimate may fill: data are read too, and machines shared

Part = Literal["synthesis", "pool", "relabel"]
FIELDS: dict[Part, str] = {"synthesis": "options", "pool": "pool_from", "relabel": "relabel_from"}
"""Where a run keeps the options of its method, and of those that stand in for it."""


def fitted(config: RunConfig, folder: Path, overwrite: bool, progress: Progress) -> RunConfig:
    """Return a run as it fits its `minutes`: as `folder` has it, where it was begun in these words.

    Raises `DdkitError` as `fit` does. A folder with another run is left to who claims it.
    """
    begun = begun_as(config, folder)
    if config.minutes is None or begun is not None:
        return begun or config
    if (folder / "config.toml").exists() and not overwrite:
        return config
    return fit(config, data_of(config.data), progress)


def begun_as(config: RunConfig, folder: Path) -> RunConfig | None:
    """Return the run in `folder` that was asked for in these words, as it was fitted then."""
    path = folder / "config.toml"
    if not path.exists():
        return None
    begun = load_config(path)
    return begun if as_asked(begun) == config else None


def as_asked(config: RunConfig) -> RunConfig:
    """Return a fitted run as it was before."""
    changes: dict[str, Any] = {"fitted": {}}
    for part, stage in _stages(config):
        own = {key.partition(".")[::2]: value for key, value in config.fitted.items()}
        asked = {name: value for (of, name), value in own.items() if of == part}
        changes |= _with_options(part, stage, {**stage.options, **asked})
    return config.model_copy(update=changes)


def fit(config: RunConfig, data: Data, progress: Progress) -> RunConfig:
    """Return the run with as much as `config.minutes` allow: as it is where it fits.

    Pools count as if they had to be trained, and evaluations not at all.

    Raises:
        DdkitError: it would take longer with the least of everything, too.
    """
    minutes = config.minutes or 0.0
    began = time.monotonic()
    pace = Pace(config, plan(config, data, progress), data)
    left = SHARE * (60 * minutes - (time.monotonic() - began))
    short = shortened(pace, left)
    less = [
        f"{key.removeprefix('synthesis.')} {_value(short, key)} instead of {asked}"
        for key, asked in short.fitted.items()
    ]
    progress.note(
        f"--minutes {minutes:g}: {', '.join(less) or 'nothing is lowered'}; "
        f"about {max(pace.seconds(short), 1) / 60:.1f} minutes"
    )
    return short


@dataclass(frozen=True)
class Pace:
    """What a run takes with other options, by what the methods say of their work."""

    config: RunConfig
    found: Plan
    data: Data

    def seconds(self, config: RunConfig) -> float:
        """Return the seconds of all stages of `config`, which differs in options alone."""
        stages = (config.pool_stage("synthesis"), config.pool_stage("relabel"))
        asked = (self.config.pool_stage("synthesis"), self.config.pool_stage("relabel"))
        pools = sum(
            seconds * self._seen(now) / self._seen(then)
            for seconds, now, then in zip(self.found.pools, stages, asked, strict=False)
        )
        steps = _steps(config) / max(1, _steps(self.config))
        labels = _labelling(config) / _labelling(self.config)
        return pools + self.found.synthesis_seconds * steps + self.found.relabel_seconds * labels

    def _seen(self, stage: StageConfig) -> float:
        return images_seen(options_of(stage), self.data.images)


def shortened(pace: Pace, seconds: float) -> RunConfig:
    """Lower what makes the run shorter, one after the other, until it takes `seconds` at most.

    The last one is lowered no further than it must; what does not help is left as it is.
    """
    config = pace.config
    for part, name, least in _rungs(config):
        taken = pace.seconds(config)
        if taken <= seconds:
            break
        most = _options(config, part).get(name)  # what came later is not stored of older methods
        if not isinstance(most, int) or most <= least:
            continue
        lowest = lowered(config, part, name, least)
        if pace.seconds(lowest) >= taken:
            continue
        low, high = least, most  # the first fits, or it is the least anyway; the second does not
        while high - low > 1 and pace.seconds(lowest) <= seconds:
            middle = (low + high) // 2
            fits = pace.seconds(lowered(config, part, name, middle)) <= seconds
            low, high = (middle, high) if fits else (low, middle)
        config = lowered(config, part, name, low)
    taken = pace.seconds(config)
    if taken > seconds:
        raise DdkitError(
            f"--minutes {config.minutes:g}: even with the least of everything the run takes about "
            f"{taken / SHARE / 60:.1f} minutes here: allow more, or use fewer or smaller images "
            "(--classes, --resize), a smaller --network or another method"
        )
    return config


def lowered(config: RunConfig, part: Part, name: str, value: int) -> RunConfig:
    """Return the run with one option lowered, and what must fit it; `fitted` says what it was."""
    stage = dict(_stages(config))[part]
    options = options_of(stage)
    changed = options.lowered(name, value)
    whole = {**stage.options, **changed}
    options_of(StageConfig(plugin=stage.plugin, options=whole))  # checked
    was = {
        f"{part}.{key}": config.fitted.get(f"{part}.{key}", stage.options[key])
        for key, new in changed.items()
        if new != stage.options[key]
    }
    changes = {"fitted": {**config.fitted, **was}, **_with_options(part, stage, whole)}
    return config.model_copy(update=changes)


def _rungs(config: RunConfig) -> Iterator[tuple[Part, str, int]]:
    """Yield what may be lowered, in order: of the method itself, then of those that stand in."""
    for part, stage in _stages(config):
        for name, least in options_of(stage).shorter:
            yield part, name, least


def _stages(config: RunConfig) -> list[tuple[Part, StageConfig]]:
    stages: list[tuple[Part, StageConfig | None]] = [
        ("synthesis", StageConfig(plugin=config.plugin, options=config.options)),
        ("pool", config.pool_from),
        ("relabel", config.relabel_from),
    ]
    return [(part, stage) for part, stage in stages if stage is not None]


def _options(config: RunConfig, part: Part) -> Mapping[str, Any]:
    return dict(_stages(config))[part].options


def _with_options(part: Part, stage: StageConfig, options: dict[str, Any]) -> dict[str, Any]:
    """Return the change of a run that gives one of its parts other options."""
    whole = options if part == "synthesis" else StageConfig(plugin=stage.plugin, options=options)
    return {FIELDS[part]: whole}


def _steps(config: RunConfig) -> int:
    options = options_of(config.stage("synthesis"))
    return int(getattr(options, options.steps_option)) if options.steps_option else 1


def _labelling(config: RunConfig) -> float:
    return float(options_of(config.stage("relabel")).work("relabel", 1))


def _value(config: RunConfig, key: str) -> Any:
    part, _, name = key.partition(".")
    return _options(config, part)[name]  # type: ignore[arg-type]
