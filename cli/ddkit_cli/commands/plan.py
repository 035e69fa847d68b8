"""`ddkit plan`: what a run will take, before anything is trained."""

from typing import TYPE_CHECKING, Any

import click

from ddkit.pipeline.flags import configured
from ddkit.runtime.sizes import readable
from ddkit_cli.options import output_options, run_options

if TYPE_CHECKING:
    from ddkit.pipeline.estimate import Data


@click.command(short_help="what a run will take: time, memory and disk")
@run_options
@click.option(
    "--like",
    metavar="IMAGES,CLASSES,CxHxW",
    help="describe training data that are not on this machine",
)
@output_options
def plan(like: str | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Say what a run will take on this machine, and whether it fits, before anything is trained.

    The flags are those of `ddkit distill`. The data are not needed if ddkit knows their name, such
    as imagenet-1k, or if --like describes them: a few steps are rehearsed on made-up images.
    """
    from ddkit.pipeline import plan as planning
    from ddkit.pipeline.fitting import fit
    from ddkit_cli import display

    progress = display.progress_for(quiet or as_json)
    config = configured(flags, progress)
    data = planning.data_of(config.data, parsed(like))
    if config.minutes is not None and not config.fitted:
        config = fit(config, data, progress)
    found = planning.plan(config, data, progress)
    if as_json:
        display.as_json(
            {
                "pool_seconds": found.pool_seconds,
                "synthesis_seconds": found.synthesis_seconds,
                "relabel_seconds": found.relabel_seconds,
                "peak_bytes": found.peak_bytes,
                "pool_bytes": found.pool_bytes,
                "image_bytes": found.image_bytes,
                "label_bytes": found.label_bytes,
                "label_bytes_as": dict(found.forms),
                "config": config.model_dump(mode="json"),
            }
        )
    else:
        title = f"{config.method} on {config.data.tag}, ipc {config.ipc}: what it will take here"
        display.table(
            title,
            ["stage", "time", "memory of a step", "disk"],
            [
                ("pool", display.duration(found.pool_seconds), "", readable(found.pool_bytes)),
                (
                    "synthesis",
                    display.duration(found.synthesis_seconds),
                    readable(found.peak_bytes),
                    readable(found.image_bytes),
                ),
                (
                    "relabel",
                    display.duration(found.relabel_seconds),
                    "",
                    readable(found.label_bytes),
                ),
                (
                    "in all",
                    display.duration(found.seconds),
                    readable(found.peak_bytes),
                    readable(found.disk_bytes),
                ),
            ],
        )
        if found.forms:
            sizes = (f"{form} {readable(size)}" for form, size in found.forms.items())
            display.say(f"labels by --labels-as: {', '.join(sizes)}; fewer epochs in proportion")
    planning.check_fits(config, found)


def parsed(like: str | None) -> "Data | None":
    """Return what --like says; raises `DdkitError` for another form."""
    from ddkit.pipeline.estimate import Data
    from ddkit.runtime.errors import DdkitError

    if like is None:
        return None
    try:
        images, classes, shape = like.split(",")
        channels, height, width = (int(side) for side in shape.split("x"))
        return Data(int(images), int(classes), (channels, height, width))
    except ValueError as error:
        raise DdkitError(f"--like {like} is not of the form 50000,10,3x32x32") from error
