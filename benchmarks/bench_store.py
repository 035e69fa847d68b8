"""A bench's figures as JSON, to go on elsewhere: python -m benchmarks.bench_store save|load FOLDER

What a bench has finished, without its runs and pools: a bench that continues from it makes no
figure again, and trains those pools that further sets need. The folders of the data and of the
bench are left out of the file, and put in again where it is loaded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.writing import RESULTS
from ddkit.bench.store import Store
from ddkit.runtime.files import read_json, write_json

KINDS = ("bench", "cell", "set", "figure", "real", "settled", "repeated")
PLACES = ("<data>", "<bench>")


def saved(store: Store, places: Sequence[str]) -> list[list[str | None]]:
    """Return the entries of a store, kind by kind.

    Args:
        places: the folders of the data and of the bench, as texts.
    """

    def text(part: object) -> str:
        found = json.dumps(part, sort_keys=True)
        for place, name in zip(places, PLACES, strict=True):
            found = found.replace(place, name)
        return found

    return [
        [e.kind, e.key, text(e.about), text(e.result), e.error]
        for kind in KINDS
        for e in store.all(kind)
    ]


def load_into(store: Store, entries: list[list[str | None]], places: Sequence[str]) -> None:
    """Store entries as `saved` returned them, in these folders."""

    def value(text: str | None) -> Any:
        for place, name in zip(places, PLACES, strict=True):
            text = str(text).replace(name, place)
        return json.loads(str(text))

    for kind, key, about, result, error in entries:
        if error is not None:
            store.fail(str(kind), str(key), value(about), error)
        else:
            store.put(str(kind), str(key), value(about), value(result))


@click.command()
@click.argument("way", type=click.Choice(["save", "load"]))
@click.argument("folder", type=Path)
@click.option("--data", required=True, help="the folder of the data, as the bench names it")
@click.option("--name", required=True, help="of the file in benchmarks/results, without .json")
def main(way: str, folder: Path, data: str, name: str) -> None:
    file = RESULTS / f"{name}.json"
    places = (data, str(folder))
    if way == "save":
        write_json(file, saved(Store(folder, create=False), places))
    else:
        load_into(Store(folder), read_json(file), places)


if __name__ == "__main__":
    main()
