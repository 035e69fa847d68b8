"""The command line as a user has it: a child process, its own cache, one thread."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddkit.runtime.process import unchanged

DDKIT = Path(sys.executable).with_name("ddkit")
SMALL = [
    "--network",
    "convnet:width=8:norm=batch",
    "--threads",
    "1",
    *(
        part
        for setting in (
            "unit=step",
            "first=1",
            "last=5",
            "every=2",
            "train_batch=64",
            "recalibrate=200",
            "iterations=4",
            "label_epochs=2",
        )
        for part in ("--set", setting)
    ),
]


@pytest.fixture
def small() -> list[str]:
    """Return the flags of a run that takes seconds."""
    return SMALL


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """Make a run of those flags once, and return the folder that it and its cache are in."""
    from ddkit_cli.main import ddkit

    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch, unchanged():
        patch.setenv("DDKIT_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        ddkit.main(["distill", *SMALL, "-o", "run", "-q"], standalone_mode=False)
    return folder


@pytest.fixture
def distilled(made, tmp_path) -> Path:
    """Return the folder of a run of those flags, ./run, as the command left it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a child process: a cache of its own, no terminal width."""
    return {**os.environ, "DDKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts `ddkit` as a child process in an empty folder."""

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [DDKIT, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture
def command(start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `ddkit` as a child process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


@pytest.fixture
def called(tmp_path, environment, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Return a function that calls the command in this process: (exit code, stdout, stderr)."""
    from ddkit_cli.main import main

    from ddkit.runtime.registry import installed

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDKIT_CACHE", environment["DDKIT_CACHE"])
    installed.cache_clear()

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ddkit", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capfd.readouterr()
        return int(leaving.value.code or 0), out, err

    yield call
    installed.cache_clear()


@pytest.fixture
def ddkit(called) -> Callable[..., str]:
    """Return a function that calls a command which must succeed, and returns its stdout."""

    def run(*arguments: str) -> str:
        code, out, err = called(*arguments)
        assert code == 0, err
        return out

    return run


@pytest.fixture
def refused(called) -> Callable[..., str]:
    """Return a function that calls a command which must fail with one line, and returns that."""

    def run(*arguments: str) -> str:
        code, out, err = called(*arguments)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 1, (code, out, err)
        assert len(errors) == 1, err
        assert "Traceback" not in err
        assert err.rstrip().endswith(errors[0])
        return errors[0]

    return run
