"""Files that appear whole or not at all, and never execute anything when they are read."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ddkit.runtime.errors import Busy, DdkitError, Unwritable
from ddkit.runtime.interrupt import check_stop

TEMPORARY = re.compile(r"\..+\.(safetensors|json|toml|png|html|md|csv|txt)\.[a-z0-9_]{8}")
METADATA_KEY = "ddkit"  # one key only: safetensors writes several in random order
_choosing: ContextVar[frozenset[Path]] = ContextVar("folders of choices", default=frozenset())


def cache_folder(kind: str) -> Path:
    """Return the folder of the user's cache for one `kind` of file, such as "pools".

    It lies in the environment variable DDKIT_CACHE, else in ~/.cache/ddkit.
    """
    root = os.environ.get("DDKIT_CACHE")
    return Path(root or "~/.cache/ddkit").expanduser() / kind


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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Any = None) -> None:
    """Write tensors and one JSON value to `path` as safetensors, whole or not at all."""
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    cpu: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        address = own.untyped_storage().data_ptr()
        cpu[name] = own.clone() if address in seen else own  # safetensors refuses shared memory
        seen.add(address)
    with replacing(path) as temporary:
        save_file(cpu, temporary, metadata=header)


class TensorFile:
    """A safetensors file, read lazily: a tensor costs memory only while its pages are in use."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = safe_open(str(path), framework="pt", device="cpu")
            header = self._file.metadata() or {}
            self.names = frozenset(self._file.keys())
        except FileNotFoundError as error:
            raise DdkitError(f"no such file: {path}") from error
        except (SafetensorError, OSError, ValueError) as error:
            raise DdkitError(
                f"{path} is no complete safetensors file ({error}); it may be truncated: "
                "copy it again or make it anew"
            ) from error
        if METADATA_KEY not in header:
            raise DdkitError(f"{path} was not written by ddkit: its header has no 'ddkit' entry")
        try:
            self.metadata: Any = json.loads(header[METADATA_KEY])
        except (ValueError, RecursionError) as error:
            raise DdkitError(f"{path} is damaged: its header is no JSON; copy it again") from error

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor, memory-mapped; raises `DdkitError` where the file lacks it."""
        if name not in self.names:
            raise DdkitError(
                f"{self.path} has no tensor '{name}'; it is of another kind or version"
            )
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError, ValueError, OverflowError) as error:
            raise DdkitError(
                f"{self.path} holds no readable tensor '{name}' ({error}): copy it again or make "
                "it anew"
            ) from error
        return tensor

    def get(self, name: str) -> Tensor | None:
        """Return one tensor, or None where the file lacks it."""
        return self[name] if name in self else None  # noqa: SIM401 - no dict

    def read(self, prefix: str = "") -> dict[str, Tensor]:
        """Return all tensors whose names begin with `prefix`, without the prefix."""
        return {
            name.removeprefix(prefix): self[name]
            for name in sorted(self.names)
            if name.startswith(prefix)
        }


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
    if isinstance(value, str) and ("." in value or "/" in value) and Path(value).is_file():
        with Path(value).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return value


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


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as named tensors: "<parameter>.<state>"."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [value for group in optimiser.param_groups for value in group["params"]]
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        own = tensor.clone()  # the file's pages are read-only
        if own.shape == parameters[int(index)].shape:  # fused kernels want one memory layout
            own = torch.empty_like(parameters[int(index)], dtype=own.dtype).copy_(own)
        state.setdefault(int(index), {})[name] = own
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
