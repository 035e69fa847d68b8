"""Data sets of the Hugging Face hub, which `datasets` downloads and keeps in its own cache."""

from ddkit.data.options import DataOptions
from ddkit.data.pixels.originals import Listing
from ddkit.data.sources.parquet import DatasetRows
from ddkit.data.sources.tables import SplitName, read_split
from ddkit.runtime.errors import DdkitError, cause


def read(options: DataOptions, split: SplitName) -> Listing:
    """Return a split of the Hugging Face data set `options.name`; its code is never run.

    Raises `DdkitError` where it can't be loaded and for all that `read_split` refuses.
    """
    import datasets  # seconds to import, and seldom needed

    try:
        loaded = datasets.load_dataset(options.name)
    except Exception as error:  # `datasets` raises a dozen kinds for wrong names and dead networks
        raise DdkitError(
            f"the Hugging Face data set '{options.name}' cannot be loaded ({cause(error)}): "
            "check the name and the network; a local folder works too: --data path"
        ) from error
    tables = {str(name): DatasetRows(dataset) for name, dataset in loaded.items()}
    return read_split(tables, options, split, f"the Hugging Face data set '{options.name}'")
