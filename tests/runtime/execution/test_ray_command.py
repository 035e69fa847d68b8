"""`ddkit distill --executor ray` as a user has it: Ray on this machine, Ctrl-C, going on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DDKIT = Path(sys.executable).with_name("ddkit")
SETTINGS = (
    "unit=step",
    "first=1",
    "last=5",
    "every=2",
    "train_batch=64",
    "recalibrate=200",
    "iterations=400",
    "label_epochs=2",
    "batch_size=10",
)
FLAGS = [
    "--network",
    "convnet:width=8:norm=batch",
    "--threads",
    "1",
    "--ipc",
    "2",
    "--preset",
    "none",
    "-q",
    *(part for setting in SETTINGS for part in ("--set", setting)),
]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def start(tmp_path, ray_environment):
    """Start `ddkit distill` in a process group of its own, as a terminal does."""
    pytest.importorskip("ray")
    environment = {**os.environ, **ray_environment, "DDKIT_CACHE": str(tmp_path / "cache")}

    def begin(*flags):
        return subprocess.Popen(
            [DDKIT, "distill", *FLAGS, *flags],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


@pytest.mark.slow
def test_ctrl_c_keeps_checkpoints_and_the_same_command_goes_on(start, tmp_path):
    assert start("-o", "here").wait(timeout=120) == 0
    expected = (tmp_path / "here" / "distilled.safetensors").read_bytes()
    process = start("-o", "run", "--executor", "ray")
    shards = tmp_path / "run" / "shards"
    while not list(shards.glob("*.checkpoint.safetensors")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches every process of the group
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "the same command continues from there" in error
    assert "Traceback" not in error
    assert list(shards.glob("*.checkpoint.safetensors"))
    assert not (tmp_path / "run" / "distilled.safetensors").exists()
    again = start("-o", "run", "--executor", "ray")
    _, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert (tmp_path / "run" / "distilled.safetensors").read_bytes() == expected
