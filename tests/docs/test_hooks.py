"""docs/hooks.md has every hook with its exact arguments, and its examples are a method."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddkit.methods.plugin import HOOKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
CONTRACT = """
from ddkit.testing import MethodContract


class TestSketch(MethodContract):
    method = "sketch"
    settings = ("epochs=1", "test_epochs=2")
"""


def functions(text: str) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))


def signature(function: ast.FunctionDef) -> str:
    return f"({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"


def test_each_hook_is_documented_with_its_exact_signature_in_the_order_of_a_run():
    source = (ROOT / "ddkit" / "methods" / "hookspecs.py").read_text(encoding="utf-8")
    specified = {function.name: signature(function) for function in functions(source)}
    shown = {
        function.name: signature(function)
        for block in BLOCKS
        if not block.startswith("# example")
        for function in functions(block)
    }
    assert shown == specified
    assert tuple(specified) == HOOKS
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert headings == [*HOOKS, "Names"]


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_says_what_the_core_does_its_default_and_an_example(hook):
    section = PAGE.split(f"\n## {hook}\n")[1].split("\n## ")[0]
    assert "**The core**" in section
    assert "**Default**: " in section
    assert f"@hookimpl\ndef {hook}(" in section


def test_each_entry_point_group_is_documented():
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    groups = set(re.findall(r'Registry\(\s*"[^"]+",\s*"(ddkit[^"]*)"', code))
    assert {"ddkit", "ddkit.networks", "ddkit.commands"} <= groups
    assert set(re.findall(r"^\| `(ddkit[^`]*)` \|", PAGE, re.MULTILINE)) == groups


def sources() -> Iterator[Path]:
    yield from (ROOT / "ddkit").rglob("*.py")
    yield from (ROOT / "cli").rglob("*.py")


def test_the_examples_are_a_method_that_keeps_the_contract(tmp_path, typed):
    examples = [block for block in BLOCKS if block.startswith("# example")]
    (tmp_path / "ddkit_sketch.py").write_text("\n".join(examples), encoding="utf-8")
    (tmp_path / "test_sketch.py").write_text(CONTRACT, encoding="utf-8")
    info = tmp_path / "ddkit_sketch-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ddkit-sketch\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ddkit]\nsketch = ddkit_sketch\n")
    out = typed("python -m pytest -q", tmp_path)
    assert " passed" in out.splitlines()[-1]
    assert "skipped" not in out
