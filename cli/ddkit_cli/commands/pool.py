"""`ddkit pool`: the cached networks that methods work with."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddkit.flags import DataFlags
from ddkit.runtime.flag import described
from ddkit.runtime.sizes import readable
from ddkit_cli.options import data_options, output_options

if TYPE_CHECKING:
    from ddkit.pools.pool import Pool

ABOUT = ("plugin", "data_name")  # what a pool's description says first


@click.group(short_help="list, inspect, import and prune cached pools of networks")
def pool() -> None:
    """List, inspect, import and prune the cached pools of networks."""


@pool.command("list")
@output_options
def list_pools(as_json: bool, quiet: bool) -> None:
    """List the cached pools."""
    from ddkit.pools.cache import cached
    from ddkit_cli import display

    found = cached()
    if as_json:
        display.as_json([pool.to_json() for pool in found])
        return
    display.table(
        "cached pools",
        ["name", "made by", "data", "network", "members", "seed", "size"],
        [
            (
                entry.name,
                *(_said(entry.description, key) for key in ABOUT),
                ", ".join(entry.networks) if entry.finished else "?",
                str(entry.members) if entry.finished else "unfinished",
                _said(entry.description, "seed"),
                readable(entry.bytes),
            )
            for entry in found
        ],
    )


def _said(description: dict[str, Any], key: str) -> str:
    """Return what a pool says of itself; "?" where it says nothing, "-" where there is nothing."""
    value = description.get(key, "?")
    return "-" if value is None else str(value)


@pool.command()
@click.argument("name")
@click.option(
    "--distilled",
    type=click.Path(path_type=Path),
    help="a distilled set: also the KL distance between members and a student trained on it",
)
@click.option("--epochs", type=int, default=300, show_default=True, help="epochs of the student")
@click.option("--data", help="where the data are now, if they have moved since the run")
@output_options
def inspect(
    name: str, distilled: Path | None, epochs: int, data: str | None, as_json: bool, quiet: bool
) -> None:
    """Show the members of pool NAME, as `ddkit pool list` names it.

    With --distilled, a student is trained on that set, and the KL distance of each member to it,
    on training data, is shown at several stages (Teddy, section 3.3): members near the student are
    good stand-ins for it.
    """
    from ddkit.pipeline.distances import student_distances
    from ddkit.pools.cache import find
    from ddkit.pools.pool import Pool
    from ddkit.runtime.interrupt import stopping_on_signals
    from ddkit_cli import display

    folder = find(name)
    opened = Pool.open(folder)
    stages: list[int] = []
    distances: list[list[float]] = [[] for _ in opened.members]
    if distilled is not None:
        with stopping_on_signals():
            stages, distances = student_distances(
                folder, distilled, epochs, data, display.progress_for(quiet or as_json)
            )
    if as_json:
        display.as_json(
            {
                "description": opened.description,
                "student_epochs": stages,
                "members": [
                    {**member.__dict__, "kl_to_student": row}
                    for member, row in zip(opened.members, distances, strict=True)
                ],
            }
        )
        return
    about = [_said(opened.description, key) for key in (*ABOUT, "network")]
    display.say(f"{name}: {', '.join(about)}")
    if not stages and opened.description["plugin"] == "imported":
        titles = ["expert", "role", "epochs", "training images right at the end"]
        display.table("experts", titles, trajectory_rows(opened))
        return
    mixed = any(member.network for member in opened.members)
    display.table(
        "members",
        [
            "member",
            *(["network"] if mixed else []),
            *("role", "epoch", "step", "figures"),
            *(f"KL, epoch {e}" for e in stages),
        ],
        [
            (
                f"{member.task} {member.number}",
                *([opened.spec(index)] if mixed else []),
                member.role,
                str(member.epoch),
                str(member.step),
                ", ".join(f"{key} {value:.3f}" for key, value in member.figures.items()),
                *(f"{value:.3f}" for value in row),
            )
            for index, (member, row) in enumerate(zip(opened.members, distances, strict=True))
        ],
    )


def trajectory_rows(opened: "Pool") -> list[tuple[str, str, str, str]]:
    """Return one row for each expert: its members differ in nothing but their epoch."""
    rows = []
    for task in opened.description["tasks"]:
        members = [member for member in opened.members if member.task == task]
        right = members[-1].figures.get("train_accuracy")  # older imports did not measure it
        said = "" if right is None else f"{right:.0%}"
        rows.append((task, members[0].role, f"{members[0].epoch} … {members[-1].epoch}", said))
    return rows


@pool.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-d", "--data", required=True, help="what the experts were trained on")
@data_options
@click.option("--network", metavar="SPEC", required=True, help="the experts' network")
@click.option("--name", help="name of the pool; default: imported- and a hash of its content")
@click.option(
    "--mean",
    metavar="A,B,C",
    help="mean of each channel, for pixels from 0 to 1, as the experts' project has it",
)
@click.option(
    "--std",
    metavar="A,B,C",
    help="standard deviation, likewise; default for both: those of the data",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="type of the stored weights",
)
@output_options
def import_pool(
    files: tuple[Path, ...],
    data: str,
    network: str,
    name: str | None,
    mean: str | None,
    std: str | None,
    dtype: Any,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Import expert trajectories, the replay_buffer_*.pt of MTT, TESLA or FTD, as a pool.

    The data flags say what the experts were trained on, as for `ddkit distill`. Nothing in the
    files is executed, and they are not needed afterwards.
    """
    from ddkit.data.options import DataOptions
    from ddkit.pools.cache import size
    from ddkit.pools.imported import import_replay
    from ddkit.pools.pool import Pool
    from ddkit.runtime.settings import validated
    from ddkit_cli import display

    said = {key: value for key, value in flags.items() if value is not None}
    imported = import_replay(
        files,
        validated(DataOptions, {"name": data, **said}, "the data set"),
        network,
        name=name,
        mean=numbers("--mean", mean),
        std=numbers("--std", std),
        dtype=dtype,
        progress=display.progress_for(quiet or as_json),
    )
    folder, experts, epochs = imported.folder, imported.experts, imported.epochs
    opened = Pool.open(folder)
    said["space"] = opened.space().kind
    follow_up = next_command(folder.name, data, network, said)
    if as_json:
        display.as_json(
            {
                "name": folder.name,
                "folder": folder,
                "experts": experts,
                "epochs": epochs,
                "bytes": size(folder),
                "description": opened.description,
                "next": follow_up,
            }
        )
        return
    display.say(
        f"pool {folder.name}: {experts} experts of {epochs} epochs, {readable(size(folder))}; "
        f"at their last epoch they get {convergence(opened)} of training images right"
    )
    display.say(f"next: {follow_up}")


def convergence(opened: "Pool") -> str:
    """Return how many training images the experts of a pool get right, the least and the most."""
    figures = [member.figures for member in opened.members]
    right = sorted(figure["train_accuracy"] for figure in figures if "train_accuracy" in figure)
    return f"{right[0]:.0%} to {right[-1]:.0%}" if right else "an unknown number"


def numbers(flag: str, text: str | None) -> list[float] | None:
    """Return numbers that are separated by commas; raises `DdkitError` for anything else."""
    from ddkit.runtime.errors import DdkitError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DdkitError(
            f"{flag} {text}: give comma-separated numbers, such as 0.49,0.48,0.45"
        ) from error


def next_command(name: str, data: str, network: str, flags: dict[str, Any]) -> str:
    """Return the command that distils with an imported pool, on the data it was trained on."""
    words = ["ddkit", "distill", "--method", "tesla", "--pool", name, "--data", data]
    for key in described(DataFlags):
        if key == "flip" and key in flags:
            words.append("--flip" if flags[key] else "--no-flip")
        elif key in flags and (key, flags[key]) != ("space", "standard"):
            words += [f"--{key.replace('_', '-')}", str(flags[key])]
    if ".py:" in network:  # a pool brings its network along, but no file is run unasked
        words += ["--network", network]
    return shlex.join(words)


@pool.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all pools")
@click.option("--unfinished", is_flag=True, help="pools whose training was stopped")
@output_options
def prune(
    names: tuple[str, ...], everything: bool, unfinished: bool, as_json: bool, quiet: bool
) -> None:
    """Delete pools from the cache.

    They are trained again when needed, except for imported ones, which must be imported again.
    """
    from ddkit.pools.cache import cached, delete, find
    from ddkit.runtime.errors import DdkitError
    from ddkit_cli import display

    if not (names or everything or unfinished):
        raise DdkitError("no pools named: give names from `ddkit pool list`, --unfinished or --all")
    chosen = [find(name) for name in names]
    chosen += [e.folder for e in cached() if everything or (unfinished and not e.finished)]
    freed = sum(delete(folder) for folder in dict.fromkeys(chosen))
    if as_json:
        display.as_json({"deleted": [folder.name for folder in chosen], "bytes": freed})
    else:
        display.say(f"deleted {len(set(chosen))} pools, {readable(freed)}")
