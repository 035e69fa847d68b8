"""Flags that several commands share, and how they become a resolved configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ddkit.config import RunConfig

Command = TypeVar("Command", bound=Callable[..., Any])

DATA_FLAGS = (
    "image_column",
    "label_column",
    "classes",
    "resize",
    "holdout",
    "imbalance",
    "flip",
    "space",
)
COMMON_FLAGS = (
    "ipc",
    "seed",
    "pool",
    "pool_seed",
    "network",
    "init",
    "store",
    "device",
    "threads",
    "groups",
    "memory_budget",
)


def data_options(command: Command) -> Command:
    """Add the flags that say which images are used."""
    for option in reversed(
        [
            click.option("--image-column", metavar="NAME", help="column of the images, if unclear"),
            click.option("--label-column", metavar="NAME", help="column of the labels, if unclear"),
            click.option("--classes", metavar="A,B | N", help="keep these classes, or the first N"),
            click.option("--resize", type=int, metavar="PIXELS", help="scale and crop to a square"),
            click.option(
                "--holdout", type=float, metavar="SHARE", help="set aside of training data"
            ),
            click.option("--imbalance", metavar="LOW[:HIGH]", help="keep a random share per class"),
            click.option("--flip/--no-flip", default=None, help="may images be mirrored?"),
            click.option(
                "--space",
                type=click.Choice(["standard", "zca", "unit"]),
                help="what networks see: standardised, ZCA-whitened, or 0 to 1",
            ),
        ]
    ):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Add --json and -q."""
    command = click.option("--json", "as_json", is_flag=True, help="print figures for machines")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="no progress bars")(command)


def executor_options(command: Command) -> Command:
    """Add --executor and --address, for `ddkit.execution.executing`."""
    command = click.option(
        "--address", metavar="HOST:PORT", help="of a Ray cluster, or auto; default: Ray on this one"
    )(command)
    return click.option(
        "--executor", type=click.Choice(["local", "ray"]), default="local",
        help="where parts of the work are done (docs/scale.md); default: in this process",
    )(command)  # fmt: skip


set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="an option of the method (`ddkit methods NAME` lists them); STAGE.KEY=VALUE for one stage",
)  # fmt: skip


def resolved(method: str | None, flags: dict[str, Any]) -> "RunConfig":
    """Return the resolved configuration of a run from all of a command's flags.

    With --config the file decides, and nothing else may be said.
    """
    from ddkit.config import load_config
    from ddkit.errors import DdkitError
    from ddkit.resolve import Request, resolve

    config: Path | None = flags.get("config")
    if config is not None:
        sources = ("pool_from", "relabel_from", "evaluate_from")
        fields = ("method", "data", "preset", *sources, *COMMON_FLAGS, *DATA_FLAGS)
        said = [name for name in fields if {"method": method, **flags}.get(name) is not None]
        if said or flags["settings"]:
            extra = ", ".join(f"--{name.replace('_', '-')}" for name in said) or "--set"
            raise DdkitError(
                f"--config repeats a run as it was; with {extra} it would be another: "
                "leave that out, or change a copy of the file"
            )
        return load_config(config / "config.toml" if config.is_dir() else config)
    return resolve(
        Request(
            method=method or "teddy",
            common={name: flags[name] for name in COMMON_FLAGS},
            data={"name": flags["data"], **{name: flags[name] for name in DATA_FLAGS}},
            settings=flags["settings"],
            preset=flags["preset"],
            sources={
                "pool": flags["pool_from"],
                "relabel": flags["relabel_from"],
                "evaluate": flags["evaluate_from"],
            },
        )
    )
