"""The child process that opens files of which nobody knows what they do: tensors come out of it.

`untrusted.py` starts it and sends one JSON line per file: what kind of file it is, its paths, and
where to write what is in it (safetensors, with the nesting as metadata). It answers with one JSON
line. Memory and time are limited before a file is touched; what goes wrong ends this process only.
"""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import torch
from torch import Tensor

from ddkit.distilled.interop.untrusted import Refusal
from ddkit.runtime.tensors import write_tensors

SPARE = 2**28  # bytes of memory beside what follows from the size of a file
GROWTH = 4  # tensors may share storage in a file, and are written apart
SECONDS = 120  # of computing per file
DEPTH = 8  # lists in lists
ITEMS = 100_000  # in one file
DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)

Reader = Callable[[list[str]], tuple[dict[str, Tensor], Any]]
"""Called with paths; returns tensors by name, and how they are nested (see `flattened`)."""


class NumpyType:
    """Stands in for numpy's dtype: the type of one number, and nothing that numpy would build."""

    def __init__(self, code: str, *flags: Any):
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def numpy_number(kind: NumpyType, raw: bytes) -> Any:
    """Stands in for what unpickles a numpy scalar: returns the plain number."""
    if kind.code[0] not in "fiub" or kind.code[1:] not in ("1", "2", "4", "8"):
        raise ValueError(f"no number of type {kind.code}")
    order = kind.order if kind.order in "<>" else "="
    return np.frombuffer(raw, np.dtype(order + kind.code), count=1).item()


NUMBERS: list[Any] = [  # the names that numpy 1 and numpy 2 write
    (numpy_number, "numpy.core.multiarray.scalar"),
    (numpy_number, "numpy._core.multiarray.scalar"),
    (NumpyType, "numpy.dtype"),
]


def read_torch(paths: list[str]) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors of a `.pt` file by number, and the nesting that they are in."""
    (path,) = paths
    check_zip(Path(path))
    with torch.serialization.safe_globals(NUMBERS):
        value = torch.load(path, map_location="cpu", weights_only=True)
    return flattened(value, GROWTH * Path(path).stat().st_size + 2**20)


def read_msgpack(paths: list[str]) -> tuple[dict[str, Tensor], Any]:
    """Return the arrays of a flax checkpoint as tensors by number, and the nesting they are in."""
    (path,) = paths
    content = Path(path).read_bytes()  # no length in it may be above its own, as unpackb sees to
    value = msgpack.unpackb(content, ext_hook=flax_array, strict_map_key=False)
    return flattened(value, GROWTH * len(content) + 2**20)


def flax_array(code: int, content: bytes) -> Tensor:
    """Return an array (code 1) or a number (code 3) of flax, packed as [shape, type, bytes]."""
    if code not in (1, 3):
        raise Refusal(f"holds a value of a kind that is not read (flax's code {code})")
    shape, name, values = msgpack.unpackb(content)
    array = np.frombuffer(values, np.dtype(name)).reshape(shape)
    if array.dtype.kind == "u" and array.itemsize > 1:  # torch has no such types
        array = array.astype(np.int64)
    return torch.from_numpy(array.copy())


def check_zip(path: Path) -> None:
    """Refuse a zip that claims more than the file holds; torch stores tensors as they are."""
    if not zipfile.is_zipfile(path):
        return  # the format before torch 1.6, which is read as a stream
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    claimed = sum(entry.file_size for entry in entries)
    if len(entries) > ITEMS or claimed > path.stat().st_size:
        raise Refusal(f"claims {claimed} bytes in {len(entries)} parts, more than the file holds")


def flattened(value: Any, budget: int) -> tuple[dict[str, Tensor], Any]:
    """Return all tensors of nested lists and dicts by number, and the nesting as JSON.

    Raises `Refusal` for anything but dense tensors and plain values, and for more than `budget`
    bytes of tensors: a few bytes may claim to be a tensor of any size.
    """
    tensors: dict[str, Tensor] = {}
    items = spent = 0

    def taken(tensor: Tensor) -> Any:
        nonlocal spent
        if tensor.dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            raise Refusal(f"holds a tensor of a kind that is not read ({tensor.dtype})")
        spent += tensor.numel() * tensor.element_size()
        if spent > budget:
            raise Refusal("claims tensors that are larger than the file")
        name = str(len(tensors))
        tensors[name] = tensor.detach().contiguous()
        return {"tensor": name}

    def walk(item: Any, depth: int) -> Any:
        nonlocal items
        items += 1
        if items > ITEMS or depth > DEPTH:
            raise Refusal("holds too many lists in lists")
        if isinstance(item, Tensor):
            return taken(item)
        if isinstance(item, list | tuple):
            return {"list": [walk(each, depth + 1) for each in item]}
        if isinstance(item, dict):
            return {"dict": [[str(key), walk(each, depth + 1)] for key, each in item.items()]}
        if item is None or isinstance(item, bool | int | float | str):
            return {"value": item}
        raise Refusal(f"holds more than tensors and plain values ({type(item).__name__})")

    return tensors, walk(value, 0)


def reader_of(kind: str) -> Reader:
    """Return what reads a kind of file; tables need pyarrow, which is loaded for them only."""
    if kind == "torch":
        return read_torch
    if kind == "msgpack":
        return read_msgpack
    from ddkit.distilled.interop import tables

    return tables.read


def answer(read: Reader, request: dict[str, Any]) -> dict[str, Any]:
    """Read what is asked for, write it out, and return what the parent is told."""
    try:
        tensors, nesting = read(request["paths"])
        write_tensors(Path(request["out"]), tensors, nesting)
    except Refusal as error:
        return {"refused": str(error)}
    except Exception as error:  # readers raise many kinds for what is not a file of theirs
        return {"refused": f"is damaged or holds more than plain data ({type(error).__name__})"}
    return {}


def limit(paths: list[str]) -> None:
    """Bound the memory and the time of this process for the next file, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = sum(Path(path).stat().st_size for path in paths)
        memory = pages * os.sysconf("SC_PAGE_SIZE") + 3 * GROWTH * size + SPARE
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        seconds = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        read = reader_of(request["kind"])  # loaded before memory is limited
        limit(request["paths"])
        out.write(json.dumps(answer(read, request)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
