"""The command: every figure gets its share of the time that is left."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch

import benchmarks.device as package
from benchmarks.device import apm, distillation, evaluation, loaders, teddy, tesla, training
from benchmarks.device.figures import SCRATCH, Bench, Figure
from benchmarks.device.floors import Floors
from benchmarks.device.report import Report, load
from benchmarks.writing import RESULTS
from ddkit.evaluation import device_name
from ddkit.run import find_device

PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "loaders": loaders.figures,
    "teddy": teddy.figures,
    "tesla": tesla.figures,
    "apm": apm.figures,
    "training": training.figures,
    "evaluation": evaluation.figures,
    "distillation": distillation.figures,
}
MARGIN = 0.12  # of the time: figures run over, and Python has to start and to end


@click.command(help=package.__doc__)
@click.option("--data", type=click.Path(path_type=Path), help="A folder of CIFAR-10, to distil.")
@click.option("--only", help=f"Some parts: {','.join(PARTS)}.")
@click.option("--minutes", default=10.0, show_default=True, help="For all parts together.")
@click.option("--device", "name", help="cpu or cuda; by default cuda where there is one.")
@click.option("--threads", type=int, help="Of torch on the CPU; by default its own number.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="A folder.")
def main(
    data: Path | None, only: str | None, minutes: float, name: str | None, threads: int | None,
    results: Path,
) -> None:  # fmt: skip
    ends = time.monotonic() + 60 * minutes * (1 - MARGIN)
    began = load()
    if threads:
        torch.set_num_threads(threads)
    chosen = only.split(",") if only else list(PARTS)
    unknown = set(chosen) - set(PARTS)
    if unknown:
        raise click.UsageError(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    device = find_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    prepare(device)
    about = {"device": device_name(device), "load average before": began}
    report = Report(device, results, about)
    with TemporaryDirectory(prefix="ddkit-device-") as folder:
        os.environ["DDKIT_CACHE"] = str(Path(folder) / "cache")
        floors = Floors.measure(device)
        report.begin(floors)
        bench = Bench(device, floors, Path(folder), data and data.resolve())
        measure([figure for part in chosen for figure in PARTS[part](bench)], bench, report, ends)
        about["load average after"] = load()
        report.write()
    print(f"written: {results / report.name}.json and .md")


def prepare(device: torch.device) -> None:
    """Set for the process what a run of ddkit sets, and nothing else."""
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


def measure(figures: Sequence[Figure], bench: Bench, report: Report, ends: float) -> None:
    """Measure figure by figure; one that fails is noted, and what there is so far is written."""
    for number, figure in enumerate(figures):
        left = ends - time.monotonic()
        if left <= 0:
            report.miss(figure.title, "the time was up")
        else:
            rest = sum(each.share for each in figures[number:])
            try:
                report.add(figure.measure(left * figure.share / rest))
            except Exception as error:  # whatever it is, the other figures are still of use
                report.miss(figure.title, f"{type(error).__name__}: {error}")
        shutil.rmtree(bench.folder / SCRATCH, ignore_errors=True)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        report.write()


if __name__ == "__main__":
    main()
