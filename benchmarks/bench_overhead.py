"""What the harness of `ddkit bench` adds to its cells: python -m benchmarks.bench_overhead FOLDER

Of a finished bench: the seconds of all cells, beside those of the stages and of the evaluations in
them. The rest is loading data, opening artifacts, the store, locks.
"""

from pathlib import Path

import click

from benchmarks.writing import write
from ddkit.bench.store import Store

STAGES = ("pool_seconds", "synthesis_seconds", "relabel_seconds")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    store = Store(folder, create=False)
    cells = sum(entry.result["seconds"] for entry in store.all("cell") if entry.result)
    stages = sum(
        entry.result["cost"].get(stage, 0.0)
        for entry in store.all("set")
        if entry.result
        for stage in STAGES
    )
    trained = {  # baselines that several methods share are one evaluation
        str(reached["accuracies"]) + str(reached["seconds"]): reached["seconds"]
        for kind in ("figure", "real")
        for reached in (entry.result["evaluation"] for entry in store.evaluated(kind))
    }
    evaluations = sum(trained.values())
    harness = cells - stages - evaluations
    rows = [
        ("cells", f"{cells:.0f} s", ""),
        ("pools, synthesis, labels", f"{stages:.0f} s", f"{stages / cells:.1%}"),
        ("evaluations", f"{evaluations:.0f} s", f"{evaluations / cells:.1%}"),
        ("the harness", f"{harness:.1f} s", f"{harness / cells:.1%}"),
    ]
    figures = {
        "cells": cells,
        "stages": stages,
        "evaluations": evaluations,
        "harness": harness,
    }
    count = len(store.all("cell"))
    write("bench_overhead", figures, rows, ["", "time", "share"], f"A bench of {count} cells.")


if __name__ == "__main__":
    main()
