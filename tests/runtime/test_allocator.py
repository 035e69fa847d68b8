"""Blocks that are freed stay with a process that computes, and with no other."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import ddkit
from ddkit import DdkitError
from ddkit.pipeline import plan as planning
from ddkit.pipeline.estimate import Data
from ddkit.pipeline.rehearse import rehearse
from ddkit.pipeline.resolve import Request, resolve
from ddkit.runtime.allocator import keep_large_blocks

DATA = Data(100, 10, (1, 8, 8))
FAULTS = """
import resource, sys
import torch
import ddkit
from ddkit.pipeline import distill as pipeline
from ddkit.runtime.progress import Silent

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ddkit.load(sys.argv[1])
before = faults()
ddkit.distill("random", "digits", 1, threads=1, out=sys.argv[2])
print(before, faults())
"""
ONCE = 2**26 // 2**21  # at least, whether pages are of 4 kB or of 2 MB


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDKIT_CACHE", str(folder / "cache"))
        return ddkit.distill("random", "digits", 1, threads=1, out=folder / "run").file.path


def faults(distilled, folder, **environment):
    """Return the page faults of ten large blocks after a set was loaded, and after a run."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, str(distilled), str(folder)],
        check=True,
        text=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    return map(int, done.stdout.split())


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no mallopt to call")
def test_a_process_keeps_its_blocks_once_it_computes(distilled, tmp_path):
    loaded, computed = faults(distilled, tmp_path / "run", DDKIT_ALLOCATOR="")
    assert loaded >= 10 * ONCE
    assert computed < loaded / 5


def test_the_allocator_is_left_alone_where_the_user_says_so(distilled, tmp_path):
    loaded, computed = faults(distilled, tmp_path / "run", DDKIT_ALLOCATOR="system")
    assert computed > loaded / 2


def test_a_c_library_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    keep_large_blocks()


def tiny():
    return resolve(Request("random", {"ipc": 1, "threads": 1}, {"name": "digits"}, (), "none"))


@pytest.mark.parametrize(
    "compute",
    [
        lambda path, out: ddkit.distill("random", "digits", 1, out=out),
        lambda path, out: ddkit.evaluate(path, seeds=1, epochs=1),
        lambda path, out: planning.plan(tiny(), DATA),
        lambda path, out: rehearse(tiny(), DATA),
    ],
    ids=["distill", "evaluate", "plan", "rehearse"],
)
def test_an_unknown_allocator_is_refused_before_anything_is_computed(
    compute, distilled, tmp_path, monkeypatch
):
    monkeypatch.setenv("DDKIT_ALLOCATOR", "sistem")
    with pytest.raises(DdkitError) as caught:
        compute(distilled, tmp_path / "run")
    assert str(caught.value) == "unknown DDKIT_ALLOCATOR 'sistem': did you mean 'system'?"
    assert not (tmp_path / "run").exists()


def test_the_command_that_trains_refuses_it_too(distilled, refused_line, monkeypatch):
    monkeypatch.setenv("DDKIT_ALLOCATOR", "jemalloc")
    line = refused_line("train", str(distilled), "--epochs", "1", "--out", "weights.safetensors")
    assert line == "error: unknown DDKIT_ALLOCATOR 'jemalloc': known are: system"
