"""Plots beside the tables: small PNGs under results/."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.writing import RESULTS


def curves(
    name: str,
    lines: Mapping[str, Mapping[int, Sequence[float]]],
    across: str,
    up: str,
    *,
    log: bool = False,
) -> None:
    """Draw each line's mean over its x, with a band of one standard deviation; write a PNG.

    Args:
        name: results/<name>.png.
        lines: title → x → values.
        across, up: the titles of the axes.
        log: whether the y axis is logarithmic.
    """
    figure, axes = plt.subplots(figsize=(6, 4), dpi=110, layout="constrained")
    for title, points in lines.items():
        places = sorted(points)
        means = [fmean(points[place]) for place in places]
        spread = [stdev(points[p]) if len(points[p]) > 1 else 0.0 for p in places]
        axes.plot(places, means, marker="o", markersize=3, label=title)
        if any(spread):
            low = [m - s for m, s in zip(means, spread, strict=True)]
            high = [m + s for m, s in zip(means, spread, strict=True)]
            axes.fill_between(places, low, high, alpha=0.15)
    axes.set(xlabel=across, ylabel=up)
    if log:
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png")
    plt.close(figure)


def panels(
    name: str,
    lines: Mapping[str, Mapping[float, Sequence[float]]],
    up: str,
    reference: Sequence[float],
) -> None:
    """Draw one small plot per line, with error bars and the mean of a reference; write a PNG."""
    figure, every = plt.subplots(
        1, len(lines), figsize=(3 * len(lines), 3), dpi=110, sharey=True, layout="constrained"
    )
    for axes, (title, points) in zip(every, lines.items(), strict=True):
        places = sorted(points)
        means = [fmean(points[place]) for place in places]
        spread = [stdev(points[p]) if len(points[p]) > 1 else 0.0 for p in places]
        axes.errorbar(range(len(places)), means, spread, marker="o", markersize=3, capsize=2)
        axes.axhline(fmean(reference), linestyle=":", color="grey")
        axes.set(xlabel=title, xticks=range(len(places)), xticklabels=[f"{p:g}" for p in places])
        axes.grid(alpha=0.3)
    every[0].set_ylabel(f"{up} (dotted: random)")
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png")
    plt.close(figure)


def trade_off(name: str, points: Mapping[str, tuple[float, float]], across: str, up: str) -> None:
    """Draw points (x, y), joined in their order, each with its name; write a PNG."""
    figure, axes = plt.subplots(figsize=(6, 4), dpi=110, layout="constrained")
    axes.plot(*zip(*points.values(), strict=True), marker="o", markersize=4)
    for title, place in points.items():
        axes.annotate(title, place, xytext=(6, 6), textcoords="offset points", fontsize=8)
    axes.set(
        xlabel=across, ylabel=up, xlim=(0, 1.2 * max(x for x, _ in points.values())), yscale="log"
    )
    axes.grid(alpha=0.3, which="both")
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png")
    plt.close(figure)
