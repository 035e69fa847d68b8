"""What pages tell a reader to type works: every command parses, quick ones are run as they stand.

A command begins with `ddkit`, `make` or `python -m`, in a block or within a line.
"""

import ast
import os
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from ddkit_cli.main import ddkit

from ddkit.methods.plugin import Plugin, lookup
from ddkit.methods.presets import preset_names
from ddkit.runtime.settings import parse_setting

ROOT = Path(__file__).parents[2]

# Run as they stand. All other commands are parsed only: they take minutes, or what is not here.
QUICK = (
    "ddkit methods teddy",
    "ddkit methods --networks",
    "ddkit pool list",
    "ddkit inspect runs/…",
    "ddkit show runs/…",
)
SLOW = ("ddkit distill --method herding --data digits --ipc 1",)
SLOW_PAGES = ("docs/index.md",)  # all of their commands, one after the other

# What is left out here, and why.
OTHER_PAGES = {"docs/tutorial.md": "test_tutorial.py runs it from its first line to its last"}
OTHER_PYTHON = {"docs/hooks.md": "test_hooks.py puts its pieces together and runs them"}
NO_COMMANDS = {"ddkit NAME": "stands for any command"}

PAGES = sorted(
    {
        page.relative_to(ROOT).as_posix()
        for pattern in ("README.md", "docs/**/*.md", "plugins/*/README.md")
        for page in ROOT.glob(pattern)
    }
    - OTHER_PAGES.keys()
)

# What blocks of Python leave to the reader.
GIVEN = "import torch\nnetwork = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))\n"

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^ {4}((?:ddkit|make|python -m) (?:.*\\\n)*.*)", re.MULTILINE)
TYPED = re.compile(r"^((?:ddkit|make|python -m) (?:.*\\\n)*.*)", re.MULTILINE)
INLINE = re.compile(r"`((?:ddkit|make|python -m) [^`]+)`")
ENDS = {"&", "&&", "|", ">", ";"}
PLACEHOLDERS = {"…", "..."}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands_of(page: str) -> list[str]:
    """Return the commands of a page, each in one line."""
    text = text_of(page)
    blocks = [block for language, block in FENCED.findall(text) if language != "python"]
    rest = FENCED.sub("", text)
    found = [command for block in blocks for command in TYPED.findall(block)]
    found += INDENTED.findall(rest) + INLINE.findall(rest)
    return [command.replace("\\\n", " ") for command in found if command not in NO_COMMANDS]


def words_of(command: str) -> list[str]:
    """Return what a shell would pass on: no comment, nothing of a following command."""
    words = []
    for word in shlex.split(command, comments=True):
        if word in ENDS:
            break
        words.append(word)
    return [word for word in words if word not in PLACEHOLDERS]


def parsed(words: list[str]) -> tuple[click.Command, dict[str, object]]:
    """Return the subcommand that is meant and its flags; raises click's errors for unknown ones."""
    command: click.Command = ddkit
    context = click.Context(ddkit, info_name="ddkit")
    values, rest, _ = command.make_parser(context).parse_args(words)
    while isinstance(command, click.Group) and rest:
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context, info_name=name)
        values, rest, _ = command.make_parser(context).parse_args(rest)
    assert not rest, f"nothing takes {rest}"
    for parameter in command.params:
        given = values.get(parameter.name)
        if isinstance(parameter.type, click.Choice) and isinstance(given, str):
            parameter.type.convert(given, parameter, context)
    return command, values


def check_ddkit(words: list[str]) -> None:
    """Raise where a command, a flag, a method, an option or a preset is not known."""
    try:
        _, values = parsed(words)
    except click.BadOptionUsage as error:
        if error.option_name == words[-1]:
            return  # a flag that is only named, without the value that it needs
        raise
    for name in [values.get("method"), values.get("pool_from"), values.get("relabel_from")]:
        if isinstance(name, str):
            lookup(name)
    method = values.get("method") or "teddy"
    settings = values.get("settings") or []
    for setting in settings if isinstance(settings, list) else []:
        key, _ = parse_setting(setting)
        known = Plugin(lookup(str(method))[0]).options_model().model_fields
        assert key in known or "." in key, f"{method} has no option {key}"
    preset = values.get("preset")
    assert preset in (None, "none", *preset_names(str(method)))


def check_make(words: list[str]) -> None:
    assert f"\n{words[0]}:" in text_of("Makefile"), words[0]


def check_module(words: list[str]) -> None:
    assert words[0] == "-m"
    file = ROOT / words[1].replace(".", "/")
    assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), words[1]


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "ddkit": check_ddkit,
    "make": check_make,
    "python": check_module,
}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_parses(page):
    for command in commands_of(page):
        program, *words = words_of(command)
        try:
            CHECKS[program](words)
        except Exception as error:
            pytest.fail(f"{page}: `{command}`: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    "command",
    [
        "ddkit distil",
        "ddkit distill --methd teddy",
        "ddkit distill --method ted",
        "ddkit distill --set stepps=1",
        "ddkit show a b",
    ],
)
def test_a_command_that_is_wrong_is_found(command):
    with pytest.raises(Exception):  # noqa: B017, PT011 - click's, ours, pytest's
        check_ddkit(words_of(command)[1:])


@pytest.fixture
def one_core() -> Iterator[None]:
    """Commands take all cores unless told; on cores that others use, a second thread waits."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture
def at_home(tmp_path, monkeypatch) -> Path:
    """A folder with one run in it, where commands are typed."""
    monkeypatch.chdir(tmp_path)
    ddkit.main(
        ["distill", "--method", "random", "--threads", "1", "--out", "runs/mine", "-q"],
        standalone_mode=False,
    )
    return tmp_path


def type_in(command: str) -> None:
    """Run a command in this process; errors are raised, not printed."""
    words = [word.replace("runs/…", "runs/mine") for word in words_of(command)[1:]]
    ddkit.main(words, standalone_mode=False)


def all_commands() -> set[str]:
    return {" ".join(words_of(command)) for page in PAGES for command in commands_of(page)}


def test_commands_that_tests_run_are_those_of_the_pages():
    assert set(QUICK + SLOW) <= all_commands()


def test_quick_commands_run(at_home):
    for command in QUICK:
        type_in(command)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("command", SLOW)
def test_slow_commands_run(command, tmp_path, monkeypatch, one_core):
    monkeypatch.chdir(tmp_path)
    type_in(command)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", SLOW_PAGES)
def test_commands_of_a_page_run_in_their_order(page, tmp_path, monkeypatch, one_core):
    monkeypatch.chdir(tmp_path)
    for command in INDENTED.findall(text_of(page)):
        type_in(command)


def python_of(page: str) -> list[str]:
    return [block for language, block in FENCED.findall(text_of(page)) if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)])
def test_python_of_a_page_names_what_ddkit_has(page):
    for block in python_of(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ddkit":
                home = import_module(str(node.module))
                missing = [name.name for name in node.names if not hasattr(home, name.name)]
                assert not missing, f"{node.module} has no {missing}"


def blocks(slow: bool) -> list[object]:
    """Return the blocks that are run: those that distil or evaluate are slow, and no others."""
    return [
        pytest.param(block, id=f"{page}:{number}")
        for page in PAGES
        for number, block in enumerate(python_of(page))
        if page not in OTHER_PYTHON
        and slow == ("ddkit.distill(" in block or "ddkit.evaluate(" in block)
    ]


def run_python(block: str, home: Path) -> None:
    (home / "distilled.safetensors").hardlink_to(home / "runs/mine/distilled.safetensors")
    exec(compile(GIVEN + block, "block", "exec"), {"__name__": "block"})  # noqa: S102


@pytest.mark.parametrize("block", blocks(slow=False))
def test_python_of_a_page_runs(block, at_home):
    run_python(block, at_home)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("block", blocks(slow=True))
def test_python_that_distils_runs(block, at_home, one_core):
    run_python(block, at_home)
