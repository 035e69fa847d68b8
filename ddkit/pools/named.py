"""The finished pool that a run names: found, and held against the run."""

from pathlib import Path
from typing import Any

from ddkit import networks
from ddkit.config import RunConfig
from ddkit.data.sources.folders import is_path
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.pools.pool import Pool, read_description
from ddkit.pools.trust import trained_accuracy
from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError, unknown

NEEDED = ("classes", "data", "network", "network_fingerprint", "shape", "tasks")


def folder_of(name: str) -> Path:
    """Return the folder of a pool: one in the cache by its name, any other by its path.

    A name in the cache wins over a folder of that name here; ./name is always the folder.
    Raises `DdkitError` for what is neither.
    """
    cache = cache_folder("pools")
    known = [path.name for path in cache.iterdir() if path.is_dir()] if cache.is_dir() else []
    if name in known:
        return cache / name
    folder = Path(name).expanduser()
    if not is_path(name):
        raise unknown("pool", name, known, hint="see `ddkit pool list`, or name a folder")
    if not folder.is_dir():
        raise DdkitError(f"--pool {name}: there is no such folder")
    return folder


def settled(name: str) -> str:
    """Return a cached pool's name as it is, and another's folder as it is found from anywhere."""
    folder = folder_of(name)
    return name if folder.parent == cache_folder("pools") else str(folder.resolve())


def description_of(name: str) -> dict[str, Any]:
    """Return what a pool's `pool.json` says; raises `DdkitError` where it is not finished."""
    folder = folder_of(name)
    if not (folder / "pool.json").exists():
        raise DdkitError(
            f"--pool {name}: {folder} has no pool.json: it is not a pool, or not finished; let "
            "the run that trains it finish, or name another (`ddkit pool list`)"
        )
    description = read_description(folder)
    missing = [key for key in NEEDED if key not in description]
    if missing:
        raise DdkitError(f"--pool {name}: {folder / 'pool.json'} lacks '{missing[0]}'")
    return description


def fingerprint(name: str) -> str:
    """Return a hash of what a pool says of itself: another pool, another hash."""
    return stable_hash(description_of(name))


def network_of(name: str) -> str | None:
    """Return the network of a pool's members; None for one from a file, never run unasked."""
    spec: str = description_of(name)["network"]
    return spec if networks.parse(spec).path is None else None


def space_of(name: str) -> InputSpace:
    """Return the input space that a pool's members were trained in."""
    description_of(name)  # refuses what is not a finished pool
    return Pool(folder_of(name)).space()


def space_for(name: str, config: RunConfig, train: Split) -> InputSpace:
    """Return the input space of the pool that a run names, before other work begins.

    Raises `DdkitError` for a pool that is missing or unfinished, and for one of other classes,
    another image shape, other data, another input space, or a network file that the run does not
    name too.
    """
    check_fits(name, description_of(name), config, train)
    space = space_of(name)
    if space.kind != config.data.space:
        raise DdkitError(
            f"the pool '{name}' was trained on {space.kind} inputs, but this run has "
            f"{config.data.space}: use --space {space.kind}"
        )
    return space


def check_fits(name: str, description: dict[str, Any], config: RunConfig, train: Split) -> None:
    """Raise `DdkitError` where a pool is for other data or for a network that is not trusted."""
    data = str(description.get("data_name", "unknown data"))
    classes, shape = description["classes"], tuple(description["shape"])
    if classes != len(train.classes):
        raise DdkitError(
            f"the pool '{name}' is for {classes} classes ({data}), but this run has "
            f"{len(train.classes)} ({config.data.tag}): use the pool's --data and --classes"
        )
    if shape != train.shape:
        raise DdkitError(
            f"the pool '{name}' is for images of {_size(shape)} ({data}), but this run has "
            f"{_size(train.shape)} ({config.data.tag}): use the pool's --data and --resize"
        )
    if description["data"] != train.fingerprint:
        raise DdkitError(
            f"the pool '{name}' was trained on other images or labels ({data}) than this run has "
            f"({config.data.tag}): use the pool's --data, --classes, --detail, "
            "--test-share, --holdout, --imbalance and --pool-seed"
        )
    spec = description["network"]
    if (
        networks.parse(spec).path is not None
        and networks.spec_fingerprint(config.network) != description["network_fingerprint"]
    ):
        raise DdkitError(
            f"the pool '{name}' has a network from a file, but this run has {config.network}: if "
            f"you trust that file, use --network {spec}, with the file as it was"
        )


def check_imported(name: str, pool: Pool, train: Split, space: InputSpace) -> None:
    """Raise `DdkitError` where experts from elsewhere do not know these classes (see `trust`)."""
    if pool.description["plugin"] == "imported":
        last = max(i for i, member in enumerate(pool.members) if member.task == "expert-0000")
        trained_accuracy(pool.network(last), train, space, f"an expert of the pool '{name}'")


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
