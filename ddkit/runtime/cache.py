"""The user's cache: folders by content, and choices that are made once."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ddkit.runtime.files import locked, read_json, write_json

_choosing: ContextVar[frozenset[Path]] = ContextVar("folders of choices", default=frozenset())


def cache_folder(kind: str) -> Path:
    """Return the folder of the user's cache for one `kind` of file, such as "pools".

    It lies in the environment variable DDKIT_CACHE, else in ~/.cache/ddkit.
    """
    root = os.environ.get("DDKIT_CACHE")
    return Path(root or "~/.cache/ddkit").expanduser() / kind


def settled(folder: Path, name: str, choose: Callable[[], Any]) -> Any:
    """Return what `choose` (→ a JSON value) returned when it was first asked for in a folder.

    For choices that follow from measurements, which differ from time to time: work that goes on
    keeps to what it chose, and so do its parts in other processes. `choose` may ask for other
    choices in the same folder.
    """
    path = folder / "settled.json"
    held = _choosing.get()
    lock = nullcontext() if folder in held else locked(folder / ".settled", "the choices", True)
    with lock:
        choices = read_json(path) if path.exists() else {}
        if name in choices:
            return choices[name]
        token = _choosing.set(held | {folder})
        try:
            chosen = choose()
        finally:
            _choosing.reset(token)
        others = read_json(path) if path.exists() else {}
        write_json(path, {**others, name: chosen})
        return chosen


def stable_hash(value: Any) -> str:
    """Return a short hash of a JSON value: equal values, equal hash, on every machine."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def by_content(value: Any) -> Any:
    """Return a JSON value with the paths of files in it replaced by hashes of what is in them."""
    if isinstance(value, dict):
        return {key: by_content(item) for key, item in value.items()}
    if isinstance(value, list):
        return [by_content(item) for item in value]
    if isinstance(value, str) and ("." in value or "/" in value) and Path(value).is_file():
        with Path(value).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return value
