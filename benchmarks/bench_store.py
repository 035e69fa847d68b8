"""A bench's figures, to go on elsewhere: python -m benchmarks.bench_store save|load FOLDER

What a bench has finished, without its runs and pools: a bench that continues from it makes no
figure again, and trains those pools that further sets need. The folders of the data and of the
bench are left out of the file, and put in again where it is loaded.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.writing import RESULTS
from ddkit.bench.store import Store
from ddkit.runtime.files import replacing

KINDS = ("bench", "cell", "set", "figure", "real", "settled", "repeated")
PLACES = ("<data>", "<bench>")


def saved(store: Store, places: Sequence[str]) -> list[list[Any]]:
    """Return the entries of a store, kind by kind.

    Args:
        places: the folders of the data and of the bench, as texts.
    """

    return [
        _moved([e.kind, e.key, e.about, e.result, e.error], places, PLACES)
        for kind in KINDS
        for e in store.all(kind)
    ]


def load_into(store: Store, entries: Sequence[list[Any]], places: Sequence[str]) -> None:
    """Store entries as `saved` returned them, in these folders."""
    for kind, key, about, result, error in _moved(entries, PLACES, places):
        if error is not None:
            store.fail(kind, key, about, error)
        else:
            store.put(kind, key, about, result)


def _moved(value: Any, old: Sequence[str], new: Sequence[str]) -> Any:
    """Return a JSON value with folders in the place of others."""
    text = json.dumps(value)
    for before, after in zip(old, new, strict=True):
        text = text.replace(before, after)
    return json.loads(text)


@click.command()
@click.argument("way", type=click.Choice(["save", "load"]))
@click.argument("folder", type=Path)
@click.option("--data", required=True, help="the folder of the data, as the bench names it")
@click.option("--name", required=True, help="of the file in benchmarks/results, without .json.gz")
def main(way: str, folder: Path, data: str, name: str) -> None:
    file = RESULTS / f"{name}.json.gz"
    places = (data, str(folder))
    if way == "save":
        text = json.dumps(saved(Store(folder, create=False), places), separators=(",", ":"))
        with replacing(file) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))  # no time in it
    else:
        load_into(Store(folder), json.loads(gzip.decompress(file.read_bytes())), places)


if __name__ == "__main__":
    main()
