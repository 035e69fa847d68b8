"""Reads files of which nobody knows what they do, in a child process with limits (`child.py`).

Nothing in a file is executed: `torch.load` gets `weights_only`, and numpy's scalars, which many of
these files hold, are read by a function of ours. One child serves all files of an import, because
loading torch takes longer than reading.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.tensors import TensorFile

PATIENCE = 300  # seconds until an answer; the child's own limit on computing is lower

Nested = Any
"""Tensors, numbers, texts and None, in lists and in dicts with text keys."""


class Refusal(Exception):  # noqa: N818 - it is an answer to the parent, which makes it an error
    """The child will not read a file; the text follows its name: "holds more than tensors"."""


class UntrustedFiles:
    """A child process that reads files; a context manager, which ends it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(
            prefix="ddkit-import-", ignore_cleanup_errors=True
        )
        self._count = 0

    def __enter__(self) -> "UntrustedFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._folder.cleanup()

    def torch(self, path: Path) -> Nested:
        """Return what `torch.save` wrote. Raises `DdkitError` for more than plain data."""
        return self._read("torch", [path])

    def msgpack(self, path: Path) -> Nested:
        """Return what flax saved as msgpack. Raises `DdkitError` for more than plain data."""
        return self._read("msgpack", [path])

    def table(self, paths: Sequence[Path]) -> Nested:
        """Return the rows of parquet or arrow files, as `tables.read` describes them."""
        return self._read("table", paths)

    def _read(self, kind: str, paths: Sequence[Path]) -> Nested:
        for path in paths:
            if not path.is_file():
                raise DdkitError(f"no such file: {path}")
        self._count += 1
        out = Path(self._folder.name) / f"{self._count}.safetensors"
        names = [str(path.resolve()) for path in paths]
        answer = self._ask({"kind": kind, "paths": names, "out": str(out)})
        if "refused" in answer:
            raise DdkitError(
                f"{paths[0]} {answer['refused']}; nothing in it was executed: copy it again, or "
                "name a file of the format"
            )
        file = TensorFile(out)
        nested = _nested(file.metadata, file)
        out.unlink()  # the tensors stay: their pages are mapped
        return nested

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        child = self._child = self._child or _started()
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child was started without pipes")
        timer = Timer(PATIENCE, child.kill)
        timer.start()
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:  # the system ended it: too much memory, too much time, or a crash
            self._end()
            return {"refused": "cannot be read within the limits on memory and time"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _started() -> subprocess.Popen[str]:
    # Without -P, and with relative or empty parts of PYTHONPATH, Python would look for modules in
    # the current folder, perhaps a downloaded one.
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    absolute = os.pathsep.join(place for place in places if Path(place).is_absolute())
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ddkit.distilled.interop.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": absolute},
    )


def _nested(item: dict[str, Any], file: TensorFile) -> Nested:
    if "tensor" in item:
        return file[item["tensor"]]
    if "list" in item:
        return [_nested(each, file) for each in item["list"]]
    if "dict" in item:
        return {key: _nested(each, file) for key, each in item["dict"]}
    return item["value"]
