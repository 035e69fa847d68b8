"""The cache of pools: what is in it, and how near its members are to a student."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddkit.pools.pool import Pool, read_description
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.files import locked


@dataclass(frozen=True)
class CachedPool:
    """A pool in the cache, finished or not."""

    folder: Path
    description: dict[str, Any]
    bytes: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        return bool(self.description)

    @property
    def members(self) -> int:
        return len(Pool.open(self.folder))

    @property
    def networks(self) -> tuple[str, ...]:
        """The specs of its members' networks; the pool's own where it has no member."""
        return Pool.open(self.folder).networks or (self.description["network"],)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.bytes, **self.description}


def cached() -> list[CachedPool]:
    """Return the pools of the cache, by name; an unfinished one has an empty description."""
    folder = cache_folder("pools")
    if not folder.is_dir():
        return []
    return [
        CachedPool(path, _description(path), size(path))
        for path in sorted(folder.iterdir())
        if path.is_dir()
    ]


def _description(folder: Path) -> dict[str, Any]:
    """Return what a pool says of itself; nothing where it is unfinished or cannot be read."""
    try:
        return read_description(folder)
    except DdkitError:
        return {}


def find(name: str) -> Path:
    """Return the folder of a cached pool; raises `DdkitError` for an unknown name."""
    names = {pool.name: pool.folder for pool in cached()}
    if name not in names:
        raise unknown("pool", name, names, hint="see `ddkit pool list`")
    return names[name]


def delete(folder: Path) -> int:
    """Delete a pool and return the bytes it took; raises `DdkitError` while one trains it."""
    with locked(folder, "the pool"):
        freed = size(folder)
        shutil.rmtree(folder)
    return freed


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
