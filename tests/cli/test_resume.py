"""Killed at any point, a run goes on and ends in the same bytes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LONG = [
    "--set",
    "iterations=400",
    "--set",
    "last=40",
    "--set",
    "every=1",
    "--ipc",
    "3",
    "--set",
    "batch_size=10",
    "--set",
    "label_epochs=30",
]


def start(ddkit_path, arguments, tmp_path, environment):
    return subprocess.Popen(
        [ddkit_path, *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def ddkit_path():
    return Path(sys.executable).with_name("ddkit")


def test_sigkill_at_random_moments_changes_no_byte(
    command, ddkit_path, small, tmp_path, environment
):
    arguments = ["distill", *small, *LONG, "-q"]
    command(*arguments, "-o", "whole")
    expected = (tmp_path / "whole" / "distilled.safetensors").read_bytes()
    fresh = {**environment, "DDKIT_CACHE": str(tmp_path / "other-cache")}
    moments = random.Random(0)
    for _ in range(4):
        process = start(ddkit_path, [*arguments, "-o", "killed"], tmp_path, fresh)
        time.sleep(moments.uniform(2.0, 9.0))
        process.kill()
        process.wait()
        leftover = tmp_path / "killed" / "distilled.safetensors"
        assert not leftover.exists() or leftover.read_bytes() == expected
    done = subprocess.run(
        [ddkit_path, *arguments, "-o", "killed"], cwd=tmp_path, env=fresh, check=True
    )
    assert done.returncode == 0
    assert (tmp_path / "killed" / "distilled.safetensors").read_bytes() == expected


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(ddkit_path, small, tmp_path, environment):
    arguments = ["distill", *small, "--set", "iterations=20000", "-q", "-o", "run"]
    process = start(ddkit_path, arguments, tmp_path, environment)
    checkpoint = tmp_path / "run" / "shards"
    while not (tmp_path / "run" / "config.toml").exists() and process.poll() is None:
        time.sleep(0.05)
    pool = tmp_path / "cache" / "pools"
    while not list(pool.glob("*/pool.json")) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.0)  # now the images are being optimised
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command continues from there" in error
    assert "ddkit distill" in error
    assert "Traceback" not in error
    assert list(checkpoint.glob("*.checkpoint.safetensors"))


def test_two_processes_do_not_share_a_run(ddkit_path, refused, small, tmp_path, environment):
    arguments = ["distill", *small, "--set", "iterations=100000", "-q", "-o", "run"]
    process = start(ddkit_path, arguments, tmp_path, environment)
    try:
        while not (tmp_path / "run" / "config.toml").exists() and process.poll() is None:
            time.sleep(0.05)
        assert "is in use by another process" in refused(*arguments)
    finally:
        process.kill()
        process.communicate()
