"""The figures of a bench as text: CSV and JSON for machines, Markdown for people."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from math import isnan
from typing import Any

from ddkit.bench.measures import Spread
from ddkit.bench.result_rows import Difference, Row, Scores, conditions, recipe_name
from ddkit.bench.results import Results
from ddkit.bench.summary import summaries
from ddkit.runtime.shown import shown
from ddkit.runtime.sizes import readable

HOW_TO_READ = (
    "Figures are mean test accuracies in percent; n is sets × networks: how many sets were "
    "distilled, each from a seed of its own, and how many networks were trained on each of them. "
    "± is the standard deviation over distillation seeds, that is of the means of the sets; how "
    "much networks differ that were trained on one and the same set stands apart.",
    "Own recipe: networks are trained as the authors of a method train them, on the labels that it "
    "gives; common recipe: all sets are trained on alike. "
    "Random real images and the selection are trained under the identical recipe. Where a set's "
    "own learning rate was learned or tuned, theirs is tuned on held-out training data. Networks "
    "on all real data see hard labels. Nothing is chosen on the test split.",
    "p comes from a paired t-test over distillation seeds: between methods with Holm's correction "
    "for all pairs that are compared under the same conditions; against random images with Holm's "
    "correction for all methods in the summary, without one in the tables. A single distillation "
    "seed allows no test. “Behind” is a method where another is better beyond noise (p < 0.05). "
    "“Not told apart” from the highest is no claim of being as good: two or three seeds can seldom "
    "show a difference.",
)

PUBLISHED = "published"  # shown where a paper reports one of the rows
Fields = Sequence[tuple[str, Callable[[Row], Any]]]


def standing_of(row: Row) -> str:
    """Return in words how a row stands in its group; noise does not make a winner."""
    if row.highest:
        return "highest"
    return {None: "not tested", True: "not told apart", False: "behind"}[row.level]


CSV_FIELDS: Fields = (
    ("method", lambda row: row.name),
    ("data", lambda row: row.data),
    ("ipc", lambda row: row.ipc),
    ("network", lambda row: row.network),
    ("protocol", lambda row: row.protocol),
    ("recipe", lambda row: row.recipe),
    ("own_recipe", lambda row: row.own_recipe),
    ("labels", lambda row: row.labels),
    ("accuracy", lambda row: row.accuracy.mean),
    ("sd_sets", lambda row: row.accuracy.between),
    ("sd_networks", lambda row: row.accuracy.within),
    ("sets", lambda row: row.accuracy.sets),
    ("networks_per_set", lambda row: row.accuracy.networks),
    ("random", lambda row: row.random and row.random.mean),
    ("random_sd_sets", lambda row: row.random and row.random.between),
    ("selection", lambda row: row.selection and row.selection.mean),
    ("selection_sd_sets", lambda row: row.selection and row.selection.between),
    ("real", lambda row: row.real and row.real.mean),
    ("real_sd_networks", lambda row: row.real and row.real.within),
    ("over_random", lambda row: row.over_random),
    ("p_random", lambda row: row.p_random),
    ("over_selection", lambda row: row.over_selection),
    ("published", lambda row: row.published and row.published.published.accuracy / 100),
    ("published_in", lambda row: row.published and row.published.source),
    ("standing", standing_of),
    ("pool_seconds", lambda row: row.seconds["pool"]),
    ("synthesis_seconds", lambda row: row.seconds["synthesis"]),
    ("relabel_seconds", lambda row: row.seconds["relabel"]),
    ("evaluation_seconds", lambda row: row.seconds["evaluation"]),
    ("synthesis_peak_bytes", lambda row: row.peak_bytes["synthesis"]),
    ("evaluation_peak_bytes", lambda row: row.peak_bytes["evaluation"]),
    ("image_bytes", lambda row: row.image_bytes),
    ("label_bytes", lambda row: row.label_bytes),
    ("learning_rates", lambda row: " ".join(f"{rate:g}" for rate in row.learning_rates)),
    ("tuned", lambda row: row.tuned),
    ("rates_learned_on", lambda row: row.learned_on),
    ("runs", lambda row: " ".join(row.runs)),
)
"""A column each; accuracies and differences are fractions, 0 … 1."""

MARKDOWN_FIELDS: Fields = (
    ("method", lambda row: row.name),
    ("data", lambda row: row.data),
    ("ipc", lambda row: row.ipc),
    ("network", lambda row: row.network),
    ("protocol", lambda row: recipe_words(row) + rate_note(row)),
    ("labels", lambda row: row.labels),
    ("accuracy", lambda row: accuracy(row.accuracy)),
    ("n", lambda row: trained(row.accuracy)),
    ("random", lambda row: accuracy(row.random)),
    ("selection", lambda row: accuracy(row.selection)),
    ("all real", lambda row: accuracy(row.real)),
    ("over random", lambda row: points(row.over_random)),
    ("p", lambda row: p_value(row.p_random)),
    (PUBLISHED, lambda row: row.published.text if row.published else ""),
    ("standing", standing_of),
    ("synthesis", lambda row: duration(row.seconds["synthesis"])),
    ("peak", lambda row: memory(row.peak_bytes["synthesis"])),
    ("images + labels", lambda row: readable(row.image_bytes + row.label_bytes)),
)


def csv_text(results: Results) -> str:
    """Return the rows as CSV; what is not known is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in CSV_FIELDS])
    writer.writerows([plain(value(row), "") for _, value in CSV_FIELDS] for row in results.rows)
    return text.getvalue()


def markdown(results: Results) -> str:
    """Return the report as Markdown; it renders alike wherever tables do."""
    found = summaries(results)
    parts = ["# Bench"] if found else ["# Bench", "Nothing is finished yet."]
    summary = _section(
        "Summary",
        ["data", "ipc", "method", "accuracy", "n", "over random", "test", "time", "recipe"],
        [
            [
                each.data,
                line.row.ipc,
                line.row.name,
                accuracy(line.row.accuracy),
                trained(line.row.accuracy),
                points(line.over_random),
                line.verdict,
                duration(line.seconds),
                recipe_of(line.row),
            ]
            for each in found
            for line in each.lines
        ],
    )
    parts += summary[:1]
    parts += [_markdown_cell(sentence) for each in found for sentence in each.sentences]
    parts += summary[1:]
    parts += [*HOW_TO_READ, *map(_markdown_cell, [*results.notes, *sources(results)])]
    told = bool(sources(results))
    fields = [(name, value) for name, value in MARKDOWN_FIELDS if told or name != PUBLISHED]
    cells = [[value(row) for _, value in fields] for row in results.rows]
    parts += _section("Accuracy", [name for name, _ in fields], cells)
    parts += _section(
        "Scores",
        ["method", "data", "ipc", "network", "recipe", "HLR", "IOR", "LRS", "ARS"],
        [
            [*astuple(s)[:5], points(s.recovery), points(s.over_random), score(s.lrs), score(s.ars)]
            for s in measured(results)
        ],
    )
    parts += _section(
        "Differences between methods",
        ["data", "ipc", "network", "protocol", "methods", "difference", "p", "n", ""],
        [
            [
                *d.group[:3],
                conditions(*d.group[3:]),
                f"{d.first} − {d.second}",
                points(d.difference),
                p_value(d.p),
                d.sets,
                verdict(d),
            ]
            for d in results.differences
        ],
    )
    parts += _section(
        "Ranking of networks",
        ["method", "data", "ipc", "protocol", "Spearman's ρ, by seed", "networks"],
        [
            [*astuple(r)[:3], where, " ".join(map(score, r.correlations)), r.networks]
            for r in results.rankings
            for where in [conditions(r.protocol, r.recipe)]
        ],
    )
    parts += _section("Failed", ["cell", "error"], results.failed)
    return "\n\n".join(parts) + "\n"


def as_json(results: Results) -> dict[str, Any]:
    """Return all figures as JSON values; what is not known is null."""
    values = asdict(results)
    for row, found in zip(results.rows, values["rows"], strict=True):
        found["published"] = row.published and row.published.to_json()
    whole: dict[str, Any] = plain(values, None)
    return whole


def plain(value: Any, unknown: Any) -> Any:
    """Return a value with None and NaN, at any depth, replaced by `unknown`."""
    if isinstance(value, dict):
        return {key: plain(item, unknown) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, unknown) for item in value]
    return unknown if value is None or (isinstance(value, float) and isnan(value)) else value


def measured(results: Results) -> list[Scores]:
    """Return the scores that are known at all: some tasks have not the protocols they need."""
    return [
        found
        for found in results.scores
        if {found.recovery, found.over_random, found.lrs, found.ars} != {None}
    ]


def memory(count: int) -> str:
    """Return a peak; empty where nothing was measured, as there were no steps."""
    return readable(count) if count else ""


def accuracy(found: Spread | None) -> str:
    """Return an accuracy with its standard deviation over sets: "73.4 ± 1.2"."""
    if found is None:
        return ""
    between = "" if isnan(found.between) else f" ± {100 * found.between:.1f}"
    return f"{100 * found.mean:.1f}{between}"


def trained(found: Spread) -> str:
    """Return how many sets, and networks on each: "5 × 3"."""
    return f"{found.sets} × {found.networks}"


def points(difference: float | None) -> str:
    """Return a difference of accuracies in points: "+3.1"; "0.0" has no sign."""
    if difference is None:
        return ""
    text = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def score(value: float | None) -> str:
    return "" if value is None or isnan(value) else f"{value:.3f}".replace("-", "−")


def p_value(p: float) -> str:
    if isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(found: Difference) -> str:
    """Return in words what a test says."""
    if isnan(found.p):
        return "not tested"
    if not found.significant:
        return "within noise"
    return f"{found.first if found.difference > 0 else found.second} is better"


def sources(results: Results) -> list[str]:
    """Return where published figures stand, a sentence for each."""
    said = [(row, row.published) for row in results.rows]
    return list(dict.fromkeys(f"{r.name}, IPC {r.ipc}: {p.source}." for r, p in said if p))


def recipe_words(row: Row) -> str:
    """Return the recipe of a row; of its own also what that is: "own recipe (l1, lr 0.1)"."""
    name = recipe_name(row.protocol) + (f" ({row.own_recipe})" if row.own_recipe else "")
    return ", ".join(filter(None, [name, row.recipe]))


def recipe_of(row: Row) -> str:
    """Return what an accuracy was measured under, in words."""
    return f"{recipe_words(row)}; {row.network}"


def rate_note(row: Row) -> str:
    """Return what a row says of learning rates that were learned for another network."""
    return "" if row.learned_on is None else f", learned rate from {row.learned_on}"


def duration(seconds: float) -> str:
    """Return seconds as people read them: "0.42 s", "12 s", "3.5 min", "1.2 h"."""
    if seconds < 0.995:
        return f"{seconds:.2g} s"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


def _section(title: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return a heading and a table; nothing where there are no rows."""
    lines = [names, ["---"] * len(names), *rows] if rows else []
    table = ["| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines]
    return [f"## {title}", "\n".join(table)] if rows else []


def _markdown_cell(value: Any) -> str:
    """Return what is only text in a cell or a sentence: no tag, no other cell, no emphasis."""
    text = shown(" ".join(str(value).split())).replace("\\", "\\\\").replace("&", "&amp;")
    for sign in "|*_`[]":
        text = text.replace(sign, f"\\{sign}")
    return re.sub("<(?! )", "&lt;", text)  # before a space it begins no tag
