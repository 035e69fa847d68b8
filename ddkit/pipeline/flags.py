"""From the flags of a run to its configuration, and functions that take flags."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ddkit.flags import RUN_FLAGS, MethodFlags
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.flag import Described, described
from ddkit.runtime.progress import Progress, Silent

if TYPE_CHECKING:
    from ddkit.config import RunConfig, StageName

Said = ParamSpec("Said")
Result = TypeVar("Result")


def takes(
    flags: Callable[Said, object],
) -> Callable[[Callable[..., Result]], Callable[Said, Result]]:
    """Make a function take the flags of a class; it gets those that were said (None was not).

    Its signature shows them, and so does its documentation in place of the line {flags}.
    """
    shape = signature(flags)
    known = described(flags)

    def decorate(function: Callable[..., Result]) -> Callable[Said, Result]:
        @wraps(function)
        def call(*args: Said.args, **kwargs: Said.kwargs) -> Result:
            said = shape.bind(*args, **kwargs).arguments
            return function(**{name: value for name, value in said.items() if value is not None})

        call.__signature__ = shape.replace(  # type: ignore[attr-defined]
            parameters=[_shown(each, known.get(name)) for name, each in shape.parameters.items()],
            return_annotation=signature(function).return_annotation,
        )
        lines = (f"    {name}: {flag.help}" for name, flag in known.items())
        call.__doc__ = cleandoc(function.__doc__ or "").replace("    {flags}", "\n".join(lines))
        return call

    return decorate


def _shown(parameter: Parameter, known: Described | None) -> Parameter:
    """Return a parameter as people read it: None stands for a default that other things decide."""
    if known is None:
        return parameter
    guessed = known.flag.default and known.name in described(*RUN_FLAGS)
    default = None if guessed else known.default
    return parameter.replace(annotation=known.kind, default=default)


def configured(said: Mapping[str, Any], progress: Progress | None = None) -> "RunConfig":
    """Return the resolved configuration of a run; a flag that is missing or None was not said.

    With "config" that file decides, and nothing else may be said. Other names are left alone.
    What a user should know of the choice goes to `progress`.
    """
    from ddkit.config import load_config
    from ddkit.pipeline.resolve import Request, resolve

    said = {name: value for name, value in said.items() if value is not None}
    if "config" in said:
        check_alone(said)
        path = Path(said["config"])
        return load_config(path / "config.toml" if path.is_dir() else path)
    method, common, data = (
        {name: said[name] for name in described(flags) if name in said} for flags in RUN_FLAGS
    )
    flags = MethodFlags(**method)
    sources: dict[StageName, str | None] = {
        "pool": flags.pool_from,
        "relabel": flags.relabel_from,
        "evaluate": flags.evaluate_from,
    }
    return resolve(
        Request(
            flags.method,
            common,
            {"name": flags.data, **data},
            flags.settings,
            flags.preset,
            sources,
            flags.steps,
        ),
        (progress or Silent()).note,
    )


def check_alone(said: Mapping[str, Any]) -> None:
    """Raise `DdkitError` where more than --config was said of what a run is."""
    extra = [
        flag.option
        for name, flag in described(*RUN_FLAGS).items()
        if name != "config" and said.get(name) not in (None, (), [], {})
    ]
    if extra:
        raise DdkitError(
            f"--config repeats a run as it was; with {', '.join(extra)} it would be a different "
            "run: leave that out, or edit a copy of the file"
        )


def default_folder(config: "RunConfig") -> Path:
    """Return runs/<method>-<data>-ipc<n>-seed<s>."""
    return Path("runs") / f"{config.method}-{config.data.tag}-ipc{config.ipc}-seed{config.seed}"
