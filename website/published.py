"""The tables of the papers: what presets name, beside what benchmarks.published measured."""

import json
import re
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from ddkit.methods.presets import applied_preset, preset_names
from ddkit.methods.published import Published, figures_in
from website.places import RESULTS, ROOT
from website.tables import code, natural, table

MEASURED = ROOT / RESULTS / "published.json"
HEADER = ("where", "preset", "recipe", "published, %", "measured, %", "n", "command")
DATA = {
    "tiny-imagenet": "./tiny-imagenet",  # a folder: no name downloads it
    "imagenet-1k-64": "imagenet-1k --resize 64",
}
NAME = re.compile(r"(.+)-ipc(\d+)(-.+)?")


def published(method: str) -> str:
    """Return every figure that presets of a method name, and what was measured of it here."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    rows = []
    for name in sorted(preset_names(method), key=natural):
        found = measured.get(f"{method}-{name}")
        for figure in figures_in(applied_preset(method, name)):
            rows.append(
                (
                    figure.where,
                    name,
                    f"{code(figure.protocol)}, {code(figure.network)}",
                    figure.text,
                    *_reached(found, figure),
                    code(command(method, name)),
                )
            )
    return table(HEADER, rows)


def command(method: str, preset: str) -> str:
    """Return the command that distils with a preset; its name is said where another comes first."""
    parts = NAME.fullmatch(preset)
    if parts is None:
        raise ValueError(f"the preset {preset} of {method} is not called DATA-ipcN")
    data, ipc, suffix = parts.groups()
    chosen = f" --preset {preset}" if suffix else ""
    return f"ddkit distill --method {method} --data {DATA.get(data, data)} --ipc {ipc}{chosen}"


def _reached(found: Mapping[str, Any] | None, figure: Published) -> tuple[str, str]:
    """Return the accuracy and n that were measured under a figure's recipe, with what was cut."""
    if found is None or figure not in [Published(**each) for each in found["published"]]:
        return "not tried", ""
    sets = found["accuracies"]
    each = [100 * accuracy for networks in sets for accuracy in networks]
    spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
    cut = f" ({'; '.join(found['otherwise'])})" if found["otherwise"] else ""
    return f"{fmean(each):.1f}{spread}{cut}", f"{len(sets)} × {max(map(len, sets))}"
