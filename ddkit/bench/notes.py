"""What is to be known of the data beside the figures: test images that are training images too."""

from typing import get_args

from ddkit.bench.store import Store
from ddkit.data.repeated import repeated
from ddkit.data.sources import load as sources
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash

KIND = "repeated"  # of the store's entries
REGARDLESS = {"holdout", "flip", "space", "detail"}  # options that change no image


def note_repeated(store: Store, run: Run) -> None:
    """Store how many test images of a run's data are training images too, once for each data."""
    data, seed = run.config.data, run.config.seed
    about = data.model_dump(mode="json", exclude=REGARDLESS)
    key = stable_hash([about, seed if data.imbalance else 0])
    if store.get(KIND, key) is not None:
        return
    train, test = (
        sources.load(data, split, seed=seed, progress=run.progress)
        for split in get_args(sources.SplitName)
    )
    found = repeated(train, test, run.progress)
    store.put(KIND, key, {"data": data.tag}, {"count": found.count, "sentence": found.sentence})


def notes_of(store: Store) -> list[str]:
    """Return a sentence for each data set of which test images are training images too."""
    found = [entry for entry in store.all(KIND) if entry.result["count"]]
    return sorted({f"{entry.about['data']}: {entry.result['sentence']}" for entry in found})
