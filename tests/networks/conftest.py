from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from ddkit.networks import create


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are tiny; a second thread only waits where other processes share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """Create a network for ten classes of 3×32×32 images from seed 0, unless told otherwise."""

    def build(spec: str, *, shape=(3, 32, 32), classes=10, seed=0, meta=False) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        return create(spec, classes=classes, shape=shape, generator=generator, meta=meta)

    return build


@pytest.fixture
def write(tmp_path, monkeypatch) -> Callable[[str], Path]:
    """Write a user's network file, net.py, and make its folder the current one."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "net.py"
        path.write_text(text)
        return path

    return write
