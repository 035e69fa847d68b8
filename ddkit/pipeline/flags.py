"""The flags of a run by their names, which the command line and the library share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddkit.data.options import DataOptions
from ddkit.runtime.errors import DdkitError

if TYPE_CHECKING:
    from ddkit.config import RunConfig

DATA_FLAGS = tuple(name for name in DataOptions.model_fields if name != "name")
SOURCE_FLAGS = ("pool_from", "relabel_from", "evaluate_from")
SETTLED = {"method", "plugin", "data", "options", "preset", "protocol", *SOURCE_FLAGS}
"""Fields of `RunConfig` that are no flag of their own, or settled by several."""


def common_flags() -> list[str]:
    """Return the flags that are fields of `RunConfig` by the same name."""
    from ddkit.config import RunConfig

    return [name for name in RunConfig.model_fields if name not in SETTLED]


def configured(flags: Mapping[str, Any]) -> "RunConfig":
    """Return the resolved configuration of a run; a flag that is None was not said.

    With "config" that file decides, and nothing else may be said. Other names are left alone.
    """
    from ddkit.config import load_config
    from ddkit.pipeline.resolve import Request, resolve

    if flags["config"] is not None:
        check_alone(flags)
        path = Path(flags["config"])
        return load_config(path / "config.toml" if path.is_dir() else path)
    return resolve(
        Request(
            method=flags["method"] or "teddy",
            common={name: flags[name] for name in common_flags()},
            data={"name": flags["data"], **{name: flags[name] for name in DATA_FLAGS}},
            settings=flags["settings"] or (),
            preset=flags["preset"],
            sources={
                "pool": flags["pool_from"],
                "relabel": flags["relabel_from"],
                "evaluate": flags["evaluate_from"],
            },
        )
    )


def check_alone(flags: Mapping[str, Any]) -> None:
    """Raise `DdkitError` where more than --config was said of what a run is."""
    names = ("method", "data", "preset", *SOURCE_FLAGS, *common_flags(), *DATA_FLAGS)
    said = [name for name in names if flags[name] is not None]
    if said or flags["settings"]:
        extra = ", ".join(f"--{name.replace('_', '-')}" for name in said) or "--set"
        raise DdkitError(
            f"--config repeats a run as it was; with {extra} it would be a different run: leave "
            "that out, or edit a copy of the file"
        )


def default_folder(config: "RunConfig") -> Path:
    """Return runs/<method>-<data>-ipc<n>-seed<s>."""
    return Path("runs") / f"{config.method}-{config.data.tag}-ipc{config.ipc}-seed{config.seed}"
