"""The house: rooms use rooms below them alone, plugins one face, and nothing goes in circles."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import ddkit
from ddkit import api

ROOT = Path(__file__).parents[1]
LAYERS = [
    "runtime",
    "flags",
    "data",
    "networks",
    "training",
    "config",
    "run",
    "pools",
    "synthesis",
    "labels",
    "distilled",
    "evaluation",
    "methods",
    "pipeline",
    "bench",
    "api",
    "testing",
]
Modules = dict[str, str]  # dotted names and sources


def modules_in(*folders: Path) -> Modules:
    """Return the sources of packages by the dotted names of their modules."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = path.read_text(encoding="utf-8")
    return found


CORE = modules_in(ROOT / "ddkit")
PLUGINS = modules_in(*sorted(ROOT.glob("plugins/*/ddkit_*")))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@cache
def nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def imports(source: str, known: Modules) -> Iterator[tuple[str, str, int]]:
    """Yield (module, name, line) of every import, those in functions and for types included."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (
                    (whole, "", node.lineno)
                    if whole in known
                    else (node.module, alias.name, node.lineno)
                )


def room(module: str) -> str:
    """Return the room of a module of ddkit; "" for ddkit itself."""
    return f"{module}.".split(".")[1]


def upward(core: Modules) -> list[str]:
    """Return the imports that go to a room above, or to the face that stands for all of them."""
    return [
        f"{module}:{line} imports {other}"
        for module, source in core.items()
        for other, _, line in imports(source, core)
        if module != "ddkit" and other.split(".")[0] == "ddkit"
        if not room(other) or LAYERS.index(room(other)) > LAYERS.index(room(module))
    ]


def circles(known: Modules) -> list[list[str]]:
    """Return the groups of modules that reach each other (Tarjan, 1972)."""
    edges = {
        module: {other for other, _, _ in imports(source, known) if other in known} - {module}
        for module, source in known.items()
        if module != "ddkit"  # the face, which loads names when they are used
    }
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for other in edges.get(module, ()):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            group = path[path.index(module) :]
            del path[path.index(module) :]
            found.append(sorted(group))

    for module in edges:
        if module not in number:
            visit(module)
    return [group for group in found if len(group) > 1]


def beside_the_face(plugins: Modules) -> list[str]:
    """Return what plugins import that is not ddkit's face, their own, or of third parties."""
    found = []
    for module, source in plugins.items():
        for other, name, line in imports(source, plugins):
            package = other.split(".")[0]
            own = package == module.split(".")[0] or not package.startswith("ddkit")
            if not own and (other != "ddkit" or name not in api.__all__):
                found.append(f"{module}:{line} imports {name} of {other}")
    return found


def test_each_room_is_a_layer():
    assert {room(module) for module in CORE} - {""} == set(LAYERS)


def test_no_room_uses_one_above_it():
    assert upward(CORE) == []


def test_no_files_import_each_other_in_a_circle():
    assert circles(CORE | PLUGINS) == []


def test_plugins_import_ddkit_alone_and_never_each_other():
    assert beside_the_face(PLUGINS) == []


BREAKS = {
    "labels that use the pipeline": (
        upward,
        "ddkit.labels.kinds",
        "from ddkit.pipeline import distill",
    ),
    "a room that uses the face": (upward, "ddkit.labels.kinds", "from ddkit import Labels"),
    "an import in a function": (
        upward,
        "ddkit.runtime.files",
        "def f():\n    import ddkit.data.split",
    ),
    "a circle for types": (
        circles,
        "ddkit.runtime.errors",
        "if TYPE_CHECKING:\n    from ddkit.runtime.registry import Registry",
    ),
    "a plugin in a room": (
        beside_the_face,
        "ddkit_teddy.options",
        "from ddkit.pools.pool import Pool",
    ),
    "a plugin in another one": (
        beside_the_face,
        "ddkit_teddy.options",
        "import ddkit_tesla.experts",
    ),
    "a name that the face lacks": (
        beside_the_face,
        "ddkit_teddy.options",
        "from ddkit import write_tensors",
    ),
}


@pytest.mark.parametrize(("rule", "module", "line"), BREAKS.values(), ids=BREAKS.keys())
def test_what_breaks_a_rule_is_found(rule, module, line):
    known = CORE | PLUGINS
    broken = known | {module: f"{known[module]}\n\n{line}\n"}
    chosen = PLUGINS if rule is beside_the_face else CORE
    assert rule({name: broken[name] for name in chosen})


def test_the_core_imports_no_plugin_and_not_the_command_line():
    foreign = [
        (module, other)
        for module, source in CORE.items()
        for other, _, _ in imports(source, CORE)
        if other.startswith("ddkit_")
    ]
    assert foreign == []


def test_the_face_defines_nothing_but_its_version():
    assert set(vars(ddkit)) & set(api.__all__) == set()
    tree = ast.parse(CORE["ddkit"])
    names = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    assert [ast.unparse(name) for name in names] == ["__version__"]
    assert ddkit.__version__ == PROJECT["version"]


def test_every_name_of_the_face_is_used_by_a_plugin_or_an_example():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("cli/**/*.jinja")]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    used = set(re.findall(r"\w+", " ".join([*PLUGINS.values(), *texts])))
    assert sorted(set(api.__all__) - used) == []
    assert len(api.__all__) == len(set(api.__all__))


def test_every_name_of_the_face_is_explained_where_its_module_is():
    pages = " ".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/api/*.md"))
    explained = set(re.findall(r"::: (ddkit[\w.]*)", pages))
    homes = {
        f"{node.module}"
        for node in ast.parse(CORE["ddkit.api"]).body
        if isinstance(node, ast.ImportFrom)
    }
    assert sorted(homes - explained) == []


def test_only_the_pipeline_calls_hooks():
    """And what tests methods."""
    callers = {room(module) for module, source in CORE.items() if re.search(r"\bPlugin\(", source)}
    assert callers <= {"methods", "pipeline", "testing"}  # methods defines it


def test_every_text_that_names_code_is_right():
    texts = {
        text
        for source in CORE.values()
        for text in re.findall(r"\"(ddkit(?:_\w+)?(?:\.\w+)+:\w+)\"", source)
    }
    assert len(texts) > 25
    for text in texts:
        module, name = text.split(":")
        assert re.search(rf"^(def |class |){name}\b", (CORE | PLUGINS)[module], re.MULTILINE), text


def test_pytest_is_imported_by_what_tests_methods_only():
    users = {
        room(module)
        for module, source in CORE.items()
        if any(other.split(".")[0] == "pytest" for other, _, _ in imports(source, CORE))
    }
    assert users == {"testing"}
    assert not [need for need in PROJECT["dependencies"] if need.startswith("pytest")]


@pytest.mark.parametrize("package", sorted(name for name in PLUGINS if "." not in name))
def test_the_init_of_a_plugin_defines_hooks_only(package):
    for node in ast.parse(PLUGINS[package]).body:
        if isinstance(node, ast.FunctionDef):
            names = [ast.unparse(decorator) for decorator in node.decorator_list]
            assert names, f"{package}.{node.name} is no hook"
            assert names[0].startswith("hookimpl")


def opens_test(source: str) -> bool:
    """Return whether a module passes the literal "test" to a call, or calls `open_test`."""
    calls = [node for node in nodes(source) if isinstance(node, ast.Call)]
    return any(
        any(isinstance(given, ast.Constant) and given.value == "test" for given in call.args)
        or getattr(call.func, "id", getattr(call.func, "attr", None)) == "open_test"
        for call in calls
    )


def test_only_the_cores_evaluation_opens_the_test_split():
    opening = {module for module, source in (CORE | PLUGINS).items() if opens_test(source)}
    assert opening <= {
        "ddkit.evaluation.accuracy",
        "ddkit.pipeline.evaluate",
        "ddkit.methods.defaults",
        "ddkit.bench.figures",
    }
    assert "ddkit.evaluation.accuracy" in opening
