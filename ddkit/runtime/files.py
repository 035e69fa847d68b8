"""Files that appear whole or not at all, and never execute anything when they are read."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from ddkit.runtime.errors import Busy, DdkitError, Unwritable
from ddkit.runtime.interrupt import check_stop

TEMPORARY = re.compile(r"\..+\.(safetensors|json|toml|png|html|md|csv|txt)\.[a-z0-9_]{8}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path`, otherwise it is removed.

    Raises `DdkitError` for a full disk and for a folder that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would lock colleagues out
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    except SafetensorError as error:  # how safetensors reports a failed write
        raise DdkitError(f"cannot write {path}: {error}; free some space and try again") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what `replacing` left under `folder` where a process was killed; hold its lock."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that ddkit wrote; raises `DdkitError` where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DdkitError(f"cannot read {path} ({error}): remove it and start again") from error


@contextmanager
def locked(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process; a second one waits, or gets a `Busy` at once.

    The lock goes with the process, so a killed one leaves nothing to clean up.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        while True:
            try:
                lock.acquire(timeout=1.0 if wait else 0)
                break
            except Timeout:
                if not wait:
                    raise
                check_stop()
    except Timeout as error:
        raise Busy(f"{what} {folder} is in use by another process; wait for it") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(path: Path, error: OSError) -> Unwritable:
    """Return the error for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unwritable(f"the disk is full: cannot write {path}; free some space and try again")
    return Unwritable(f"cannot write {path}: {error.strerror or error}; choose another folder")


def free_disk(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or would be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
