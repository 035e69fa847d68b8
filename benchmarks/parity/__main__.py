"""The command: what was named is compared, one repository after the other."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

import benchmarks.parity as package
from benchmarks.parity import apm, condensation, sre2l, trajectories
from benchmarks.parity.foreign import Checkout, Repository
from benchmarks.parity.inputs import NETWORK, Inputs
from benchmarks.parity.rows import Row
from benchmarks.writing import RESULTS, machine, write
from ddkit.runtime.errors import DdkitError

PARTS: dict[str, tuple[Repository, Callable[[Checkout, Inputs], Iterator[Row]]]] = {
    "tesla": (trajectories.TESLA, trajectories.tesla_rows),
    "mtt": (trajectories.MTT, trajectories.mtt_rows),
    "apm": (apm.REPOSITORY, apm.rows),
    "dc": (condensation.REPOSITORY, condensation.rows),
    "sre2l": (sre2l.REPOSITORY, sre2l.rows),
}
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(help=f"\b\n{package.__doc__}")
@click.option("--tesla", type=FOLDER, help=f"A checkout of {trajectories.TESLA.name}.")
@click.option("--mtt", type=FOLDER, help=f"A checkout of {trajectories.MTT.name}.")
@click.option("--apm", type=FOLDER, help=f"A checkout of {apm.REPOSITORY.name}.")
@click.option("--dc", type=FOLDER, help=f"A checkout of {condensation.REPOSITORY.name}.")
@click.option("--sre2l", type=FOLDER, help=f"A checkout of {sre2l.REPOSITORY.name}.")
@click.option("--data", default="digits", show_default=True, help="As --data of ddkit takes it.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each measurement of time.")
@click.option("--seeds", default=10, show_default=True, help="Networks of an evaluation.")
@click.option("--epochs", default=300, show_default=True, help="Of an evaluation.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="A folder.")
def main(
    data: str, seconds: float, seeds: int, epochs: int, results: Path, **folders: Path | None
) -> None:
    torch.set_num_threads(1)
    try:
        checkouts = {
            name: Checkout(PARTS[name][0], folder) for name, folder in folders.items() if folder
        }
        if not checkouts:
            wanted = ", ".join(f"--{name} DIR ({part[0].name})" for name, part in PARTS.items())
            raise DdkitError(f"clone what to compare with from github.com, and name it: {wanted}")
        with TemporaryDirectory(prefix="ddkit-parity-") as folder:
            inputs = Inputs(data, Path(folder), seconds, seeds, epochs)
            found = measured(checkouts, inputs)
    except DdkitError as error:
        raise click.ClickException(str(error)) from error
    report(checkouts, found, inputs, results)


def measured(checkouts: dict[str, Checkout], inputs: Inputs) -> dict[str, list[Row]]:
    """Return the rows of each repository that was named; say what was not."""
    found = {}
    for name, (repository, compare) in PARTS.items():
        if name not in checkouts:
            click.echo(f"{repository.name}: left out, for no --{name} says where it lies", err=True)
            continue
        found[name] = []
        for row in compare(checkouts[name], inputs):
            click.echo(" | ".join(row.cells), err=True)
            found[name].append(row)
    return found


def report(
    checkouts: dict[str, Checkout], found: dict[str, list[Row]], inputs: Inputs, results: Path
) -> None:
    """Write the table; of repositories that were not named, what was measured here before stays."""
    parts = earlier(results)
    for name, checkout in checkouts.items():
        parts[name] = {
            "repository": PARTS[name][0].name,
            "commit": checkout.commit,
            "data": Path(inputs.data).name,
            "rows": [row.to_json() for row in found[name]],
        }
    parts = {name: parts[name] for name in PARTS if name in parts}
    commits = ", ".join(f"{part['repository']} at {part['commit'][:10]}" for part in parts.values())
    data = ", ".join(sorted({part["data"] for part in parts.values()}))
    left_out = ", ".join(part[0].name for name, part in PARTS.items() if name not in parts)
    write(
        "parity",
        {"network": NETWORK, "parts": parts},
        [row["cells"] for part in parts.values() for row in part["rows"]],
        ["what", "agreement", "time, ours / theirs", "peak memory, theirs / ours", "executed"],
        f"{NETWORK} unless another network is named, images of {data} at 32 px, no DSA unless it "
        "is named. Differences are relative norms, those of DSA's operations the largest of a "
        "pixel. Times are processor seconds of one thread, medians over rounds of theirs and ours "
        "in turn, there and back, in one process; its allocator is the system's, as it is for the "
        "released code, and not told to keep memory as a run of ddkit tells it. Memory is that of "
        "live tensors. Lines were executed as they stand, with names of ours; released code: "
        f"{commits}." + (f" Left out: {left_out}." if left_out else ""),
        results,
    )


def earlier(results: Path) -> dict[str, Any]:
    """Return what an earlier run wrote there, if this machine and this torch measured it."""
    path = results / "parity.json"
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return dict(written["parts"]) if written.get("machine") == machine() else {}


if __name__ == "__main__":
    main()
