"""A set of its authors beside their figure: python -m benchmarks.imported --set FILE --data CIFAR10

RCIG's set of one image per class of CIFAR-10, imported and evaluated as its authors do: protocol
`regression`. Random real images come last, under the same recipe; what is done is kept.
"""

from pathlib import Path

import click

from benchmarks.writing import write
from ddkit.data.options import DataOptions
from ddkit.distilled.interop.importing import Request, import_set
from ddkit.methods.published import Beside, Published
from ddkit.pipeline.library import evaluate
from ddkit.pipeline.rows import percent

RUNS, PROTOCOL = Path("runs/benchmark/imported"), "regression"
NETWORK = "convnet:norm=none:growth=2:init=lecun"
PUBLISHED = Published(
    accuracy=53.9,
    sd=1.0,
    n=5,
    protocol=PROTOCOL,
    network=NETWORK,
    where="RCIG, Table 1",
)


@click.command()
@click.option("--set", "source", type=click.Path(path_type=Path), required=True)
@click.option("--data", required=True, help="the folder of CIFAR-10")
@click.option("--seeds", type=int, default=3, show_default=True, help="networks")
def main(source: Path, data: str, seeds: int) -> None:
    path = RUNS / "rcig-cifar10-ipc1.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    import_set(source, path, Request(data=DataOptions(name=data)), overwrite=True)
    for random in (False, True):
        rows = evaluate(
            path, protocols=PROTOCOL, seeds=seeds, random=random, real=False, progress=True
        )
        beside = Beside(PUBLISHED, (), rows[0].evaluation.accuracies)
        write(
            "imported",
            {"rows": rows.to_json(), "published": beside.to_json()},
            [
                (
                    "RCIG, CIFAR-10, IPC 1" if row is rows[0] else row.title,
                    PUBLISHED.text if row is rows[0] else "",
                    percent(row.evaluation.accuracies),
                    str(len(row.evaluation.accuracies)),
                    f"{row.evaluation.seconds:.0f}",
                )
                for row in rows
            ],
            ["set", "published, %", "measured", "networks", "seconds"],
            f"Protocol `{PROTOCOL}` with {NETWORK}; mean and standard deviation over networks. "
            f"Published: {PUBLISHED.where}. Seconds are of a machine that did other work as well.",
        )


if __name__ == "__main__":
    main()
