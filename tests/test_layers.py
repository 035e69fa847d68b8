"""The house: each room uses rooms below it alone, and no two files go round in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = [
    "runtime", "data", "networks", "training", "config", "run", "pools", "synthesis", "labels",
    "distilled", "evaluation", "methods", "pipeline", "bench", "api", "testing",
]  # fmt: skip
SOURCES = {"ddkit": ROOT / "ddkit", "ddkit_cli": ROOT / "cli" / "ddkit_cli"} | {
    folder.name: folder for folder in sorted(ROOT.glob("plugins/*/ddkit_*"))
}


def modules(sources: dict[str, Path] = SOURCES) -> dict[str, Path]:
    """Return every module by its dotted name."""
    found = {}
    for package, folder in sources.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((package, *parts))] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of all that a file imports of ddkit, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield (whole if whole in known else node.module), node.lineno


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def upward(known: dict[str, Path]) -> list[str]:
    """Return what imports a room above its own."""
    found = []
    for module, path in known.items():
        here = room(module)
        if module.split(".")[0] != "ddkit" or not here:
            continue
        for other, line in imports(path, known):
            if room(other) and LAYERS.index(room(other)) > LAYERS.index(here):
                found.append(f"{path.name}:{line}: {module} imports {other}")
            if not room(other):
                found.append(f"{path.name}:{line}: {module} imports the face of ddkit")
    return found


def circles(known: dict[str, Path]) -> list[list[str]]:
    """Return the groups of files that reach each other, by Tarjan's algorithm."""
    edges = {
        module: {other for other, _ in imports(path, known)} - {module}
        for module, path in known.items()
        if module != "ddkit"
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in edges.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = []
            while not group or group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for module in edges:
        if module not in index:
            visit(module)
    return found


if __name__ == "__main__":
    known = modules()
    print("\n".join(upward(known)))
    for c in circles(known):
        print("CIRCLE", c)
