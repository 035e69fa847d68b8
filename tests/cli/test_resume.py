"""Killed at any point, a run goes on and ends in the same bytes."""

import random
import signal
import time
from collections.abc import Callable

import pytest


def settings(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


SHORT = settings("iterations=30", "last=8", "batch_size=10", "label_epochs=5")
LONG = settings("iterations=400", "last=40", "every=1", "batch_size=10", "label_epochs=30")


def until(condition: Callable[[], object], process) -> None:
    """Wait until a condition holds, or the process has ended."""
    while process.is_alive() and not condition():
        time.sleep(0.01)


def test_sigkill_at_random_moments_changes_no_byte(
    ddkit, forked, small, tmp_path, monkeypatch, own_cache
):
    ddkit("distill", *small, "-o", "first", "-q")  # all is imported then
    arguments = ["distill", *small, *SHORT, "--ipc", "2", "-q"]
    began = time.monotonic()
    ddkit(*arguments, "-o", "whole")
    whole = time.monotonic() - began
    expected = (tmp_path / "whole" / "distilled.safetensors").read_bytes()
    monkeypatch.setenv("DDKIT_CACHE", str(own_cache.with_name("other-cache")))
    moments = random.Random(0)
    killed = []
    for _ in range(4):
        process = forked(*arguments, "-o", "killed")
        process.join(moments.uniform(0.05, 0.35) * whole)
        process.kill()
        process.join()
        killed.append(process.exitcode)
        leftover = tmp_path / "killed" / "distilled.safetensors"
        assert not leftover.exists() or leftover.read_bytes() == expected
    assert -signal.SIGKILL in killed
    ddkit(*arguments, "-o", "killed")
    assert (tmp_path / "killed" / "distilled.safetensors").read_bytes() == expected


@pytest.mark.slow  # the same of the command itself, and of a run that lasts
def test_sigkill_of_the_command_changes_no_byte(command, start, small, tmp_path, environment):
    arguments = ["distill", *small, *LONG, "--ipc", "3", "-q"]
    command(*arguments, "-o", "whole")
    expected = (tmp_path / "whole" / "distilled.safetensors").read_bytes()
    environment["DDKIT_CACHE"] = str(tmp_path / "other-cache")
    moments = random.Random(0)
    for _ in range(4):
        process = start(*arguments, "-o", "killed")
        time.sleep(moments.uniform(2.0, 9.0))
        process.kill()
        process.communicate()
        leftover = tmp_path / "killed" / "distilled.safetensors"
        assert not leftover.exists() or leftover.read_bytes() == expected
    assert command(*arguments, "-o", "killed").returncode == 0
    assert (tmp_path / "killed" / "distilled.safetensors").read_bytes() == expected


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(forked, small, tmp_path):
    arguments = ["distill", *small, *settings("iterations=20000"), "-q", "-o", "run"]
    process = forked(*arguments)
    until(lambda: list((tmp_path / "cache" / "pools").glob("*/pool.json")), process)
    time.sleep(0.3)  # now the images are being optimised
    process.send_signal(signal.SIGINT)
    process.join(30)
    error = process.errors.read_text()
    assert process.exitcode == 130
    assert "the same command continues from there" in error
    assert "ddkit distill" in error
    assert "Traceback" not in error
    assert list((tmp_path / "run" / "shards").glob("*.checkpoint.safetensors"))


def test_two_processes_do_not_share_a_run(forked, refused, small, tmp_path):
    arguments = ["distill", *small, *settings("iterations=100000"), "-q", "-o", "run"]
    process = forked(*arguments)
    until((tmp_path / "run" / "config.toml").exists, process)
    assert "is in use by another process" in refused(*arguments)
