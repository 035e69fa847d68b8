"""`ddkit pool`: the cached networks that methods work with."""

from pathlib import Path

import click

from ddkit_cli.options import output_options


@click.group(short_help="list, inspect and prune cached pools of networks")
def pool() -> None:
    """List, inspect and prune the cached pools of networks."""


@pool.command("list")
@output_options
def list_pools(as_json: bool, quiet: bool) -> None:
    """List the cached pools."""
    from ddkit.pools import cached
    from ddkit_cli import display

    found = cached()
    if as_json:
        display.as_json([pool.to_json() for pool in found])
        return
    display.table(
        "cached pools",
        ["name", "data", "network", "members", "seed", "size"],
        [
            (
                entry.name, str(entry.description.get("data_name", "?")),
                str(entry.description.get("network", "?")),
                str(entry.members) if entry.finished else "unfinished",
                str(entry.description.get("seed", "?")), display.human_bytes(entry.bytes),
            )
            for entry in found
        ],
    )  # fmt: skip


@pool.command()
@click.argument("name")
@click.option(
    "--distilled", type=click.Path(path_type=Path),
    help="a distilled set: also the KL distance between members and a student trained on it",
)  # fmt: skip
@click.option("--epochs", type=int, default=300, show_default=True, help="of the student")
@click.option("--data", help="where the data lie now, if elsewhere than for the run")
@output_options
def inspect(
    name: str, distilled: Path | None, epochs: int, data: str | None, as_json: bool, quiet: bool
) -> None:
    """Show the members of pool NAME, as `ddkit pool list` names it.

    With --distilled, a student is trained on that set, and the KL distance of each member to it,
    on training data, is given at several stages (Teddy, section 3.3): members near the student are
    good stand-ins for it.
    """
    from ddkit.interrupt import stopping_on_signals
    from ddkit.pool import Pool
    from ddkit.pools import find, student_distances
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
        display.as_json({
            "description": opened.description, "student_epochs": stages,
            "members": [
                {**member.__dict__, "kl_to_student": row}
                for member, row in zip(opened.members, distances, strict=True)
            ],
        })  # fmt: skip
        return
    display.table(
        name,
        ["member", "role", "epoch", "step", "figures", *(f"KL, epoch {e}" for e in stages)],
        [
            (
                f"{member.task} {member.number}", member.role, str(member.epoch), str(member.step),
                ", ".join(f"{key} {value:.3f}" for key, value in member.figures.items()),
                *(f"{value:.3f}" for value in row),
            )
            for member, row in zip(opened.members, distances, strict=True)
        ],
    )  # fmt: skip


@pool.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all pools")
@click.option("--unfinished", is_flag=True, help="those whose training was stopped")
@output_options
def prune(
    names: tuple[str, ...], everything: bool, unfinished: bool, as_json: bool, quiet: bool
) -> None:
    """Delete pools from the cache; they are trained again when they are needed."""
    from ddkit.errors import DdkitError
    from ddkit.pools import cached, delete, find
    from ddkit_cli import display

    if not (names or everything or unfinished):
        raise DdkitError("say which pools: names from `ddkit pool list`, --unfinished or --all")
    chosen = [find(name) for name in names]
    chosen += [e.folder for e in cached() if everything or (unfinished and not e.finished)]
    freed = sum(delete(folder) for folder in dict.fromkeys(chosen))
    if as_json:
        display.as_json({"deleted": [folder.name for folder in chosen], "bytes": freed})
    else:
        click.echo(f"deleted {len(set(chosen))} pools, {display.human_bytes(freed)}")
