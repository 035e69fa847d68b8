"""What units of the tests do; the workers of the tests' cluster find this module."""

import json
import os
import signal
import time
from pathlib import Path

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.interrupt import Stopped, check_stop


def take_time(progress, *, folder, name, seconds):
    """Note when it began and ended, and go on for a while."""
    began = time.time()
    with progress.task(f"unit {name}", 10) as task:
        for _ in range(10):
            time.sleep(seconds / 10)
            task.advance()
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps({"began": began, "ended": time.time()}))
    progress.note(f"{name} is done")


def say_who(progress, *, folder, name):
    """Note which process it is."""
    (Path(folder) / name).write_text(str(os.getpid()))


def die_once(progress, *, folder, name):
    """Kill the worker, but for the second time."""
    mark = Path(folder) / f"{name}.died"
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    (Path(folder) / name).write_text("done")


def die_always(progress, *, folder, name):
    os.kill(os.getpid(), signal.SIGKILL)


def told_to_end_once(progress, *, folder, name):
    """Get a SIGTERM as from a machine that is shut down, but for the second time."""
    mark = Path(folder) / f"{name}.told"
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    check_stop()
    (Path(folder) / name).write_text("done")


def fail(progress, *, folder, name):
    with (Path(folder) / "tries").open("a") as file:
        file.write("x")
    raise DdkitError(f"{name} cannot be done: try another")


def break_down(progress, *, folder, name):
    raise ZeroDivisionError("a bug")


def until_stopped(progress, *, folder, name, fails=None):
    """Go on until someone asks for a stop, then save; one fails once another has begun."""
    if name == fails:
        while not list(Path(folder).glob("*.begun")):
            time.sleep(0.1)
        fail(progress, folder=folder, name=name)
    (Path(folder) / f"{name}.begun").write_text("")
    for _ in range(600):
        time.sleep(0.1)
        try:
            check_stop()
        except Stopped:
            (Path(folder) / f"{name}.saved").write_text("")
            raise
