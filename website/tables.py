"""Tables that ddkit itself can fill: what a method offers, what a protocol does."""

import ast
import tomllib
from collections.abc import Iterable, Sequence
from inspect import isclass, isfunction
from pathlib import Path

import ddkit
from ddkit.evaluation.protocols import PROTOCOLS, Protocol
from ddkit.methods.about import about
from ddkit.methods.plugin import ALIASES, Plugin, lookup
from ddkit.methods.presets import preset_names, presets
from ddkit.runtime.described import describe
from website.places import RESULTS, ROOT


def options(method: str) -> str:
    """Return every option of a method with its type, default and meaning."""
    rows = describe(Plugin(lookup(method)[0]).options_model())
    return table(
        ("option", "type", "default", "meaning"),
        (
            (code(name), " or ".join(map(code, kind.split(" | "))), code(default), meaning)
            for name, kind, default, meaning in rows
        ),
    )


def aliases(method: str) -> str:
    """Return the names that stand for a method, and what each sets."""
    found = ((name, lookup(name)[1]) for name in sorted(ALIASES.entries()))
    rows = (
        (
            code(name),
            about(name).summary or alias.summary,
            said({**alias.options, "init": alias.init}),
        )
        for name, alias in found
        if alias and alias.method == method
    )
    return table(("name", "what it is", "sets"), rows)


def preset_table(method: str) -> str:
    """Return the presets of a method: where their settings come from, what had to be added."""
    plugin, alias = lookup(method)
    folder = presets(plugin) / method if alias else presets(plugin)
    rows = []
    for name in sorted(preset_names(method), key=natural):
        values = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        rows.append((code(name), values["source"], values.get("notes", "")))
    return table(("preset", "settings from", "notes"), rows)


def protocols(_: str = "") -> str:
    """Return the core's protocols, a row each."""
    loaded: list[Protocol] = [PROTOCOLS.load(name) for name in PROTOCOLS.builtins]
    rows = (
        (
            code(protocol.name),
            "classes" if protocol.labels == "hard" else "the set's labels",
            loss_of(protocol),
            f"{protocol.recipe.optimiser}, {protocol.recipe.lr:g}",
            protocol.recipe.schedule,
            f"{protocol.recipe.weight_decay:g}",
            str(protocol.recipe.epochs),
            str(protocol.recipe.batch_size),
            protocol.augmentation,
        )
        for protocol in loaded
    )
    header = (
        "protocol",
        "towards",
        "loss",
        "optimiser, rate",
        "schedule",
        "decay",
        "epochs",
        "batch",
        "augmentation",
    )
    return table(header, rows)


def loss_of(protocol: Protocol) -> str:
    if protocol.loss == "l1":
        return "L1 of logits"
    return "cross-entropy" if protocol.labels == "hard" else "of the labels"


def results(_: str = "") -> str:
    """Return every table of results with what was measured, its data and its picture."""
    rows = []
    for page in sorted((ROOT / RESULTS).glob("*.md")):
        beside = [page.with_suffix(suffix) for suffix in (".png", ".csv", ".json")]
        others = [link(path.suffix[1:], path) for path in beside if path.exists()]
        rows.append((link(page.stem, page), first_line(page.stem), ", ".join(others)))
    return table(("table", "what was measured", "also as"), rows)


def first_line(result: str) -> str:
    """Return the first line that the maker of a result says of itself.

    Results are called like a module of benchmarks/, but those of accuracies (after their data), of
    `ddkit bench`, and of whole machines (after these).
    """
    folder = ROOT / "benchmarks"
    modules = (folder / f"{result}.py", folder / result / "__init__.py")
    module = next((path for path in modules if path.exists()), None)
    if module is None:
        if result.startswith("bench_"):
            return "methods head to head: `ddkit bench`"
        module = folder / ("accuracy.py" if "-ipc" in result else "device/__init__.py")
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


def public_names(_: str = "") -> str:
    """Return what `import ddkit` offers: each name, where it is explained, and its first line."""
    rows = []
    for name in ddkit.__all__:
        found = getattr(ddkit, name)
        documented = isclass(found) or isfunction(found)
        home = (
            f"{found.__module__}.{found.__qualname__}" if documented else "ddkit.methods.hookspecs"
        )
        text = found.__doc__ or ""
        rows.append((f"[`ddkit.{name}`][{home}]", text.strip().split("\n")[0]))
    return table(("name", "what it is"), rows)


def link(text: str, path: Path) -> str:
    return f"[{text}]({path.relative_to(ROOT).as_posix()})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def said(values: dict[str, object]) -> str:
    """Return settings as they are typed after --set; those that are None are left out."""
    return ", ".join(code(f"{key}={value}") for key, value in values.items() if value is not None)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ipc10 after ipc2."""
    pieces = name.replace("-ipc", "-ipc-").split("-")
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in pieces]
