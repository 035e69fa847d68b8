"""Class names and other foreign texts reach a terminal as texts: no colour, no line, no markup."""

import ast
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image

from ddkit.bench.tables import _markdown_cell
from ddkit.distilled.contact_sheet import sheet
from ddkit.pipeline.rows import Rows, table
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.shown import one_line, shown

NAMES = ["a\x1b[31mred", "b\nline", "c[bold]x", "d\u202erow"]
SHOWN = ["a\\x1b[31mred", "b\\nline", "c[bold]x", "d\\u202erow"]


@pytest.mark.parametrize(("name", "text"), zip(NAMES, SHOWN, strict=True))
def test_control_characters_are_shown_as_escapes(name, text):
    assert shown(name) == text


@pytest.mark.parametrize("text", ["café 日本語 C:\\new", "می\u200cخواهم", "👩\u200d🔬", "a\u00a0b"])
def test_letters_of_all_scripts_stay(text):
    assert shown(text) == text


def test_a_message_is_one_line_with_its_spaces():
    assert one_line("class 'a  b':\n  \x07gone\r\n") == "class 'a  b': \\x07gone"
    assert str(DdkitError("class 'a\x1b[2J'\nis gone")) == "class 'a\\x1b[2J' is gone"


@pytest.fixture
def photos(tmp_path):
    """Return a folder of images whose classes have hostile names."""
    for which, count in (("train", 3), ("test", 1)):
        for name in NAMES:
            folder = tmp_path / "photos" / which / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.full((8, 8, 3), 20 * index + len(name), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def printable(text):
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    return text


def test_every_command_shows_class_names_as_they_are(ddkit, called, photos):
    classes = ", ".join(SHOWN)
    assert f"classes: {classes}\n" in printable(ddkit("data", "photos"))
    printable(ddkit("distill", "-m", "random", "-d", "photos", "--ipc", "2", "-o", "run"))
    assert classes in printable(ddkit("inspect", "run"))
    ddkit("show", "run")
    code, _, err = called("distill", "-m", "random", "-d", "photos", "--ipc", "9", "-o", "more")
    assert code == 1
    (line,) = [line for line in printable(err).splitlines() if line.startswith("error:")]
    assert "class 'a\\x1b[31mred' has 3 training images, fewer than" in line


def test_an_unknown_class_is_named_in_one_line(refused, photos):
    line = printable(refused("data", "photos", "--classes", "b\nlinen\x1b[0m"))
    assert "did you mean" in line or "known are" in line


def test_tables_take_no_markup_and_no_control_characters():
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=140, force_terminal=True, color_system="truecolor")
    console.print(table("t[red]", ["h[u]"], [[name] for name in NAMES]), highlight=False)
    text = console.file.getvalue()
    assert all(part in text for part in [*SHOWN, "t[red]", "h[u]"])
    assert "\x1b[31m" not in text
    assert repr(Rows("set\x1b[2J", [])).splitlines()[0] == "set\\x1b[2J"
    assert Rows("<set>\x1b", [])._repr_html_().startswith("<table><caption>&lt;set&gt;\\x1b<")


def test_a_cell_of_markdown_is_one_line_without_control_characters():
    assert _markdown_cell("a\x1b[31m\nb|c") == r"a\\x1b\[31m b\|c"


class Sheet:
    """Two images of classes of these names."""

    shape, classes = (1, 8, 8), torch.tensor([0, 1])

    def __init__(self, *names):
        self.class_names = names

    def pixels(self, rows):
        return torch.zeros(len(rows), 1, 8, 8)


def test_captions_of_a_sheet_are_one_line_of_text():
    def drawn(*names):
        return sheet(Sheet(*names), None, per_class=1, max_classes=2).tobytes()

    assert drawn("b\nline", "\x1b[31m") == drawn("b\\nline", "\\x1b[31m")
    assert drawn("b\nline", "x") != drawn("b line", "x")


def test_commands_print_through_one_function_that_escapes():
    for path in files("ddkit_cli").joinpath("commands").iterdir():
        if path.name.endswith(".py"):
            tree = ast.parse(path.read_text("utf-8"))
            calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
            assert not {"click.echo", "click.secho", "print"} & set(calls), path.name
