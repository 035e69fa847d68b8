"""Units here: in order, and what is said where Ray is asked for and is not there."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution import LOCAL, executing
from ddkit.runtime.execution.units import Job, Unit
from ddkit.runtime.progress import Silent


class Bars(Silent):
    """Keeps the bars that were shown: [title, total, done]."""

    def __init__(self):
        self.bars = []

    @contextmanager
    def task(self, name, total, done=0):
        self.bars.append([name, total, done])
        yield self

    def advance(self, steps=1):
        self.bars[-1][2] += steps


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ddkit.runtime.execution.ray", raising=False)


def units(*names, said, failing=None):
    def here(name):
        def do(task):
            if name == failing:
                raise DdkitError(f"{name} failed")
            said.append(name)
            task.advance(2)

        return do

    return [Unit(name, here(name), {}, size=2) for name in names]


def test_units_here_are_done_in_their_order_under_one_bar():
    said, shown = [], Bars()
    LOCAL.run(Job("work"), units("a", "b", "c", said=said), shown, done=4)
    assert said == ["a", "b", "c"]
    assert shown.bars == [["work", 10, 10]]


def test_the_first_unit_that_fails_here_is_the_last():
    said = []
    with pytest.raises(DdkitError, match=r"^b failed$"):
        LOCAL.run(Job("work"), units("a", "b", "c", said=said, failing="b"), Silent())
    assert said == ["a"]


def test_the_default_is_this_process():
    with executing() as executor:
        assert executor is LOCAL


def test_an_address_without_ray_is_refused():
    with (
        pytest.raises(DdkitError, match="--address head:1 names a Ray cluster: add --executor ray"),
        executing("local", "head:1"),
    ):
        pass


@pytest.mark.parametrize("command", ["distill", "bench"])
def test_where_ray_is_missing_one_line_says_how_to_get_it(command, no_ray, tmp_path):
    from ddkit_cli.main import COMMANDS

    folder = tmp_path / "out"
    with pytest.raises(DdkitError) as caught:
        COMMANDS.load(command).main(["--executor", "ray", "-o", str(folder)], standalone_mode=False)
    assert str(caught.value) == "--executor ray needs Ray: pip install 'ddkit[ray]'"
    assert not folder.exists()


def test_a_broken_ray_is_not_taken_for_a_missing_one(no_ray, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", sys)  # it has no ray.exceptions
    with pytest.raises(ModuleNotFoundError), executing("ray"):
        pass


def test_workers_are_not_for_ray(tmp_path):
    from ddkit_cli.main import COMMANDS

    with pytest.raises(DdkitError, match="--workers is for runs on this machine"):
        COMMANDS.load("bench").main(
            ["--executor", "ray", "--workers", "2", "-o", str(tmp_path)], standalone_mode=False
        )


def test_nothing_imports_ray_unasked():
    code = (
        "import sys, ddkit.pipeline.distill, ddkit.bench.workers, ddkit.runtime.execution; "
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ddkit.runtime.execution.local" in found.stdout.split()
    assert "ray" not in found.stdout.split()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("auto", "Could not find any running Ray instance"),
        ("127.0.0.1:1", "Connection refused"),
        ("ray://head:10001", "run ddkit on a machine of the cluster, with --address auto"),
        ("head", "an address is HOST:PORT, or auto"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_line(address, reason, monkeypatch, tmp_path):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    refusal = pytest.raises(DdkitError, match=f"^no Ray at {address}: .*{reason}")
    with refusal as caught, executing("ray", address):
        pass
    assert "\n" not in str(caught.value)
