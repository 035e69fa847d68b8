"""The figures of a bench as text: CSV and JSON for machines, Markdown for people."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from math import isnan
from typing import Any

from ddkit.bench.result_rows import Row, Scores, conditions
from ddkit.bench.results import Results
from ddkit.bench.summary import summaries
from ddkit.bench.words import (
    accuracy,
    duration,
    memory,
    p_value,
    points,
    rate_note,
    recipe_of,
    recipe_words,
    score,
    standing_of,
    stored_bytes,
    trained,
    verdict,
)
from ddkit.runtime.shown import shown

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
    ("factor", lambda row: row.factor),
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
    ("images + labels", lambda row: stored_bytes(row, row.image_bytes + row.label_bytes)),
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


def sources(results: Results) -> list[str]:
    """Return where published figures stand, a sentence for each."""
    said = [(row, row.published) for row in results.rows]
    return list(dict.fromkeys(f"{r.name}, IPC {r.ipc}: {p.source}." for r, p in said if p))


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
