"""What numbers of a report are in words: accuracies, points, durations, recipes."""

from math import isnan

from ddkit.bench.measures import Spread
from ddkit.bench.result_rows import Difference, Row, recipe_name
from ddkit.runtime.sizes import readable


def standing_of(row: Row) -> str:
    """Return in words how a row stands in its group; noise does not make a winner."""
    if row.highest:
        return "highest"
    return {None: "not tested", True: "not told apart", False: "behind"}[row.level]


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


def recipe_words(row: Row) -> str:
    """Return the recipe of a row; of its own also what that is: "own recipe (l1, lr 0.1)"."""
    name = recipe_name(row.protocol) + (f" ({row.own_recipe})" if row.own_recipe else "")
    return ", ".join(filter(None, [name, row.recipe]))


def recipe_of(row: Row) -> str:
    """Return what an accuracy was measured under, in words."""
    return f"{recipe_words(row)}; {row.network}"


def stored_bytes(row: Row, size: int) -> str:
    """Return bytes of a set, with its factor where stored images hold several: "2 kB, factor 2"."""
    return readable(size) + (f", factor {row.factor}" if row.factor > 1 else "")


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
