"""The command: parts one after the other, each within its time."""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch

import benchmarks.device as package
from benchmarks.device.lanes import perform
from benchmarks.device.parts import Bench, Part, part_in
from benchmarks.device.report import Report
from benchmarks.writing import RESULTS, table
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.machine import find_device

PARTS = {name: f"benchmarks.device.{name}" for name in ("check", "figures", "rows")}
MARGIN = 0.05  # of the time, to end in
FULL = 3.0  # times as long, on a CPU, nothing is tiny


@click.command(help=f"\b\n{package.__doc__}")
@click.argument("part", type=click.Choice([*PARTS, "all"]))
@click.option("--minutes", type=float, help="For the part, or all; by default an H100's.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="A folder.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="CIFAR-10, for rows.")
@click.option("--device", "name", help="cpu or cuda; by default cuda where there is one.")
@click.option("--threads", default=1, show_default=True, help="Of each process, on the CPU.")
@click.option("--plan", is_flag=True, help="Only print what takes how long on an H100.")
def main(
    part: str,
    minutes: float | None,
    results: Path,
    data: Path | None,
    name: str | None,
    threads: int,
    plan: bool,
) -> None:
    chosen = [part_in(PARTS[each]) for each in (PARTS if part == "all" else [part])]
    usual = sum(each.minutes for each in chosen)
    if plan:
        print("\n\n".join("\n".join(planned(each)) for each in chosen))
        return
    try:
        device = find_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except DdkitError as error:
        raise click.ClickException(str(error)) from error
    share = (minutes or usual) / usual
    small = device.type == "cpu" and share < FULL
    failed = False
    for each in chosen:
        if each.needs_data and data is None:
            print(f"{each.name}: left out, for no --data says where CIFAR-10 lies")
            continue
        report = carried_out(each, device, share * each.minutes, small, results, data, threads)
        failed |= any(line.figures.get("result") == "failed" for line in report.lines.values())
    sys.exit(1 if failed else 0)


def carried_out(
    part: Part,
    device: torch.device,
    minutes: float,
    small: bool,
    results: Path,
    data: Path | None,
    threads: int,
) -> Report:
    """Do a part within its minutes."""
    ends = time.monotonic() + 60 * minutes * (1 - MARGIN)
    report = Report(part, results)
    with TemporaryDirectory(prefix="ddkit-device-", ignore_cleanup_errors=True) as folder:
        os.environ["DDKIT_CACHE"] = str(Path(folder) / "cache")
        bench = Bench(device, Path(folder), data and data.resolve(), small)
        perform(part, bench, report, ends, threads)
    written = f"; in {results / report.name}.json and .md" if report.about else ""
    print(f"{part.name}: {report.summary}{written}", flush=True)
    return report


def planned(part: Part) -> list[str]:
    """Return the plan of time of a part on an H100."""
    lines = [f"{part.name}: {part.minutes:g} minutes, {len(part.lanes)} process(es) at once", ""]
    for number, lane in enumerate(part.lanes, 1):
        total = sum(item.seconds for item in lane)
        rows = [(item.title, f"{item.seconds:.0f} s", item.because) for item in lane]
        lines += table([f"process {number}", f"{total:.0f} s", "because"], rows)
        lines += [""]
    return lines[:-1]


if __name__ == "__main__":
    main()
