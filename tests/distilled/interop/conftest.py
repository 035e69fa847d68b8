"""Sets in the layouts of other tools, made by hand; one reading child serves all tests."""

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from torch import Tensor

import ddkit
from ddkit.data.options import DataOptions
from ddkit.distilled.dataset import DistilledDataset
from ddkit.distilled.interop.exporting import export_set
from ddkit.distilled.interop.importing import Request, import_set
from ddkit.distilled.interop.untrusted import UntrustedFiles
from ddkit.runtime.errors import DdkitError

MEAN, STD = (0.3,), (0.25,)
NAMES = ("0", "1", "2")
PATIENCE = 30  # seconds for one damaged file, on a busy machine: a new child loads torch


@pytest.fixture(scope="session")
def files() -> Iterator[UntrustedFiles]:
    """Return one open reader: each child takes seconds to load torch."""
    with UntrustedFiles() as opened:
        yield opened


@pytest.fixture
def bring(tmp_path, files) -> Callable[..., DistilledDataset]:
    """Import a source and open the artifact; keywords are fields of the request."""

    def bring(source: Path, **said: Any) -> DistilledDataset:
        number = len(list(tmp_path.glob("imported-*")))
        out = tmp_path / f"imported-{number}.safetensors"
        return ddkit.load(import_set(source, out, Request(**said), files=files))

    return bring


@pytest.fixture
def send(tmp_path) -> Callable[..., Path]:
    """Export an opened artifact under a new name."""

    def send(distilled: DistilledDataset, name: str, out: str, **said: Any) -> Path:
        export_set(distilled.file.path, tmp_path / out, name, **said)
        return tmp_path / out

    return send


@pytest.fixture
def digits() -> DataOptions:
    """The data that sets of 1×8×8 images of three classes are imported for."""
    return DataOptions(name="digits", classes=NAMES)


@pytest.fixture
def pixels() -> Tensor:
    """Two images of 1×8×8 for each of three classes, class by class, on no grid of bytes."""
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def logits() -> Tensor:
    """Labels whose largest number is not always that of the class."""
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    return values + 3 * torch.eye(3)[torch.tensor([0, 0, 1, 1, 2, 0])]


def normalised(pixels: Tensor) -> Tensor:
    """Return pixels as a tool feeds them, with the constants of these tests."""
    return (pixels - MEAN[0]) / STD[0]


def checkpoint(inputs: Tensor, targets: Tensor, name: str = "ema_average", **more: Any) -> bytes:
    """Return what flax saves of a set: inputs (N, C, H, W), which FRePo has as (N, H, W, C)."""

    def packed(values: np.ndarray, code: int = 1) -> msgpack.ExtType:
        parts = (values.shape, values.dtype.name, values.tobytes())
        return msgpack.ExtType(code, msgpack.packb(parts))

    proto = {
        "x_proto": packed(inputs.movedim(1, 3).contiguous().numpy()),
        "y_proto": packed(targets.numpy()),
    }
    state = {"0": {"mu": packed(np.zeros(3, np.uint32)), "count": packed(np.array(7), 3)}}
    return msgpack.packb({"step": 5, "opt_state": state, "ema_average": None, name: proto, **more})


def all_pixels(distilled: DistilledDataset) -> Tensor:
    return distilled.pixels(torch.arange(len(distilled)))


NUMBERS = (b"9999999999999", b"-1", b"0", b"1e999", b"4294967296", b"NaN", b'"x"', b"[]", b"null")


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """Return a file's bytes with a few of the things that happen to files, or are done to them."""
    data = bytearray(whole)
    for _ in range(draw.randint(1, 3)):
        reach = len(data) if draw.random() < 0.5 else min(len(data), 600)  # headers come first
        start = draw.randrange(reach) if reach else 0
        end = min(len(data), start + draw.choice((1, 2, 4, 8, 64)))
        kind = draw.randrange(7)
        if kind == 0:
            for place in range(start, end):
                data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[draw.randrange(len(data) + 1) :]
        elif kind == 2:
            data[start:start] = data[start:end] * draw.choice((1, 3))
        elif kind == 3:
            data[start:end] = b"\xff" * (end - start)
        elif kind == 4:
            data[start:end] = bytes(end - start)
        elif kind == 5:
            data[start:end] = draw.randbytes(end - start)
        elif found := list(re.finditer(rb"\d+", bytes(data[:4000]))):
            place = draw.choice(found)
            data[place.start() : place.end()] = draw.choice(NUMBERS)
    return bytes(data)


@dataclass
class Reader:
    """What is damaged, and how it is read: `read` returns after it checked what it got."""

    file: Path
    read: Callable[[], None]
    wrap: Callable[[bytes], bytes] = bytes  # what makes a file of damaged content
    content: Callable[[bytes], bytes] = bytes
    damage: Callable[[bytes, random.Random], bytes] = damaged


def fuzz(reader: Reader, cases: int) -> int:
    """Read damaged copies of a file, and return how many were refused.

    A seeded loop, so that a number names a case.
    """
    reader.read()  # whole, it is read
    whole = reader.content(reader.file.read_bytes())
    lines = []
    for case in range(cases):
        reader.file.write_bytes(reader.wrap(reader.damage(whole, random.Random(case))))
        began = time.monotonic()
        try:
            reader.read()
        except DdkitError as error:
            lines.append(str(error))
        except BaseException as error:
            raise AssertionError(f"case {case}: {type(error).__name__}") from error
        assert time.monotonic() - began < PATIENCE, case
    assert not [line for line in lines if "\n" in line]
    return len(lines)
