"""The comparison with released code, on stand-ins for it: whose code is run, which statements."""

import sys

import pytest
from click.testing import CliRunner

from ddkit.runtime.errors import DdkitError

SCRIPT = """
import nowhere.at_all
from helpers import twice

def main():
    for it in range(3):
        start = nowhere.log("not run")
        total = twice(start_value)
        for c in range(2):
            total += c
        done = total
        print("not run either")
"""


@pytest.fixture(scope="module")
def parity(benchmark):
    """Return a function that imports a module of benchmarks.parity."""
    return lambda name: benchmark(f"parity.{name}")


@pytest.fixture
def checkout(parity, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "helpers.py").write_text("def twice(x):\n    return 2 * x\n", encoding="utf-8")
    foreign = parity("foreign")
    monkeypatch.setattr(foreign, "SPARED", ("nowhere.at_all",))
    return foreign.Checkout(foreign.Repository("who/what", ("script.py",)), tmp_path)


def test_statements_run_as_they_stand_with_names_that_are_given(checkout):
    lines = checkout.lines("script.py", ("main", "it"), "total", "total")
    assert lines.where == "script.py:8–10"
    assert lines.run(start_value=5)["total"] == 2 * 5 + 0 + 1
    assert "done" not in lines.run(start_value=5)
    assert not {"script", "helpers", "nowhere", "nowhere.at_all"} & set(sys.modules)


def test_what_is_not_installed_raises_where_it_is_called(checkout):
    lines = checkout.lines("script.py", ("main", "it"), "start", "start")
    with pytest.raises(DdkitError, match=r"nowhere\.log is needed: install nowhere"):
        lines.run()


@pytest.mark.parametrize(("within", "first"), [(("main", "it"), "other"), (("main", "i"), "total")])
def test_another_version_is_refused(checkout, within, first):
    with pytest.raises(DdkitError) as caught:
        checkout.lines("script.py", within, first, "total")
    assert str(caught.value) == (
        f"{checkout.folder / 'script.py'} does not assign {first} … total in "
        f"{' > '.join(within)}: it is not the script.py of github.com/who/what that this compares "
        "with"
    )


def test_a_module_that_needs_more_is_refused(checkout):
    (checkout.folder / "script.py").write_text("import not_there_at_all\n", encoding="utf-8")
    with pytest.raises(DdkitError, match="cannot be imported: No module named 'not_there_at_all'"):
        checkout.module("script.py")


def test_without_a_folder_one_line_says_what_to_do(parity):
    done = CliRunner().invoke(parity("__main__").main, [])
    assert done.exit_code == 1
    assert done.output.startswith("Error: clone what to compare with from github.com, and name it:")
    assert done.output.count("\n") == 1
    assert "--tesla DIR (justincui03/tesla)" in done.output


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("tesla", "justincui03/tesla: it has no requirements.yaml"),
        ("mtt", "GeorgeCazenavette/mtt-distillation: it has no requirements_11_3.yaml"),
        ("apm", "mchen725/DD_APM: it has no distill.py"),
        ("dc", "VICO-UoE/DatasetCondensation: it has no main.py"),
        ("sre2l", "VILA-Lab/SRe2L: it has no SRe2L/*small_dataset/recover_cifar.py"),
    ],
)
def test_a_folder_of_something_else_is_refused_before_anything_is_measured(
    parity, tmp_path, name, missing
):
    done = CliRunner().invoke(parity("__main__").main, [f"--{name}", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output == f"Error: {tmp_path} is no checkout of github.com/{missing}\n"


def test_what_another_machine_measured_is_not_mixed_in(parity, benchmark, tmp_path):
    command = parity("__main__")
    machine = benchmark("writing").machine
    assert command.earlier(tmp_path) == {}
    for about, kept in ((machine(), {"apm": {}}), ({**machine(), "torch": "1.0"}, {})):
        text = command.json.dumps({"machine": about, "parts": {"apm": {}}})
        (tmp_path / "parity.json").write_text(text, encoding="utf-8")
        assert command.earlier(tmp_path) == kept
