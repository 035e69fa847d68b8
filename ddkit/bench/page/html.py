"""Gathers what the page shows, and renders it: one file, with style, script and images in it."""

import base64
import hashlib
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ddkit.bench.page import charts, columns, first, heat, images
from ddkit.bench.results import Results
from ddkit.bench.store import Store
from ddkit.bench.tables import HOW_TO_READ, as_json, csv_text
from ddkit.bench.words import duration
from ddkit.config import RunConfig
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.settings import validated

STYLES = ("base.css", "summary.css", "tables.css", "figures.css", "print.css")
SCRIPTS = ("theme.js", "tables.js", "figures.js")


@dataclass(frozen=True)
class Configuration:
    """One run of the bench: its resolved configuration, and the command that repeats it."""

    title: str
    note: str
    toml: str
    command: str


@dataclass(frozen=True)
class Bench:
    """What was asked for: the file that `ddkit bench --config` takes, with the versions."""

    title: str
    toml: str
    versions: str


def render(store: Store, results: Results) -> str:
    """Return the page of a bench; the same store, the same bytes."""
    folder = store.path.parent
    sets = {entry.key: entry for entry in store.all("set") if entry.result}
    made_with = {key: str(entry.result["config"]["network"]) for key, entry in sets.items()}
    looks = charts.styles([row.name for row in results.rows])
    sheets = _sheets(folder, results, sets)
    style = Markup("\n".join(_asset(name) for name in STYLES))  # noqa: S704 - our own file
    scripts = [Markup(_asset(name)) for name in SCRIPTS]  # noqa: S704 - our own files
    environment = Environment(
        loader=PackageLoader("ddkit.bench.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": _breakable, "whole": _whole}
    return environment.get_template("report.html.j2").render(
        title=folder.resolve().name,
        style=style,
        scripts=scripts,
        hashes=[_digest(script) for script in scripts],
        how_to_read=(*HOW_TO_READ, *results.notes),
        facts=_facts(results),
        cards=first.cards(results, looks, sheets),
        choices=choices(results),
        main=columns.main_table(results),
        scores=columns.scores_table(results),
        differences=columns.differences_table(results),
        rankings=columns.rankings_table(results),
        panels=charts.panels(results.rows, looks),
        chart=charts,
        heat_maps=heat.heat_maps(results.rows, made_with),
        sheets=sheets,
        cells=_cells(folder, results, sets),
        benches=_benches(store),
        failed=results.failed,
        devices=_devices(store),
        until=max((e.at for kind in ("bench", "figure") for e in store.all(kind)), default=""),
        figures=as_json(results),
        csv="data:text/csv;charset=utf-8;base64,"
        + base64.b64encode(csv_text(results).encode()).decode(),
    )


def _asset(name: str) -> str:
    return (files("ddkit.bench.page") / "assets" / name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """Return text that may break after colons, as the specs of networks are long."""
    return Markup("<wbr>").join(escape(part) for part in re.split("(?<=:)", text))


def _whole(text: str) -> Markup:
    """Return text in which "(p < 0.05, Holm)" does not break."""
    spans = re.sub(r"\(p [^()]*\)", r'<span class="whole">\g<0></span>', str(escape(text)))
    return Markup(spans)  # noqa: S704 - escaped above


def _digest(script: str) -> str:
    """Return what the page's policy allows a script by: no other one runs in it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _facts(results: Results) -> list[tuple[int, str]]:
    """Return how much there is of what, for the head of the page."""
    counts = [
        (len({row.name for row in results.rows}), "method"),
        (len({row.data for row in results.rows}), "data set"),
        (len({row.ipc for row in results.rows}), "ipc"),
        (len({row.network for row in results.rows}), "network"),
        (len({row.protocol for row in results.rows}), "protocol"),
        (len(results.failed), "failed cell"),
    ]
    return [
        (count, what if count == 1 or what == "ipc" else f"{what}s")
        for count, what in counts
        if count or what != "failed cell"
    ]


def _runs(
    results: Results, sets: dict[str, Any]
) -> dict[str, tuple[dict[str, list[str]], dict[str, Any]]]:
    """Return the runs by method, data set and ipc: title → (what finds them, results by key)."""
    found: dict[str, tuple[dict[str, list[str]], dict[str, Any]]] = {}
    for row in results.rows:
        for key in filter(sets.__contains__, row.runs):
            stored = sets[key].result
            classes = stored["config"]["data"].get("classes")
            # a task that takes classes apart has runs of several, which are told apart by these
            part = f" · {', '.join(map(str, classes))}" if isinstance(classes, list | tuple) else ""
            by = {"method": [row.name], "data": [row.data], "ipc": [str(row.ipc)]}
            title = f"{row.name} · {row.data} · ipc {row.ipc}{part}"
            found.setdefault(title, (by, {}))[1][key] = stored
    return found


def _sheets(folder: Path, results: Results, sets: dict[str, Any]) -> list[images.Sheet]:
    """Return a sheet for each method, data set and ipc: that of the first distillation seed."""
    runs = _runs(results, sets)
    room = images.PAGE_BYTES // max(1, len(runs))
    found = []
    for title, (found_by, stored) in runs.items():
        first = min(stored.values(), key=lambda run: run["config"]["seed"])
        about = f"seed {first['config']['seed']}"
        found.append(images.sheet(folder / first["folder"], title, about, found_by, room))
    return found


def _cells(
    folder: Path, results: Results, sets: dict[str, Any]
) -> list[tuple[str, dict[str, list[str]], list[Configuration]]]:
    """Return the runs by method, data set and ipc: (title, what finds them, a run per seed)."""
    return [
        (title, found_by, [_configuration(folder, run) for run in stored.values()])
        for title, (found_by, stored) in _runs(results, sets).items()
    ]


def _configuration(folder: Path, stored: dict[str, Any]) -> Configuration:
    path = folder / stored["folder"] / "config.toml"
    try:
        toml = validated(RunConfig, stored["config"], "the store").to_toml()
    except DdkitError as error:
        toml = f"# this version of ddkit cannot read it: {error}"
    cost = stored["cost"]
    seconds = sum(cost.get(f"{stage}_seconds", 0.0) for stage in ("synthesis", "relabel"))
    gone = "" if path.exists() else "; the file is gone: save the text below as one"
    return Configuration(
        f"seed {stored['config']['seed']}",
        f"{stored['labels']} labels, {duration(seconds)} without the pool, "
        f"on {cost.get('device', stored['config']['device'])}{gone}",
        toml,
        f"ddkit distill --config {shlex.quote(str(path))}",
    )


def _benches(store: Store) -> list[Bench]:
    """Return the benches that were started in the folder, each as its TOML file."""
    return [
        Bench(
            ", ".join(entry.about.get("methods", ())),
            tomli_w.dumps(_without_none(entry.about)),
            ", ".join(f"{name} {version}" for name, version in (entry.result or {}).items()),
        )
        for entry in store.all("bench")
    ]


def _devices(store: Store) -> list[str]:
    """Return what the figures were measured on: seconds of different ones don't compare."""
    found = [e.result["evaluation"] for kind in ("figure", "real") for e in store.evaluated(kind)]
    return sorted({e["device"] for e in found if e.get("device")})


def _without_none(value: Any) -> Any:
    """Return a value as TOML can say it: unset keys, which have None as their default, left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def choices(results: Results) -> dict[str, list[Any]]:
    """Return the filters of the page, and what each can be set to."""
    found: dict[str, dict[str, None]] = {
        name: {} for name in ("method", "data", "ipc", "network", "protocol")
    }
    for row in sorted(results.rows, key=lambda row: row.ipc):
        by = columns.found_by([row.name], row.data, row.ipc, row.protocol, row.recipe, row.network)
        for name, values in by.items():
            found[name].update(dict.fromkeys(values))
    return {name: list(values) for name, values in found.items()}
