"""The charts of the page: points, lines and texts in pixels; a template draws them as SVG."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isnan

from ddkit.bench.measures import Spread
from ddkit.bench.page.scales import Scale, Tick, bytes_axis, ipc_axis, percent_axis, seconds_axis
from ddkit.bench.result_rows import Row, conditions
from ddkit.bench.words import accuracy, duration, trained
from ddkit.runtime.sizes import readable

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 42, 408, 12, 256  # of the plot itself
LEAST_SECONDS = 0.01  # a logarithmic axis has no zero
DODGE = 5  # pixels between methods at one ipc, so that their error bars stay apart
SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",  # circle
    "M-4 -4H4V4H-4Z",  # square
    "M0 -5.2L5 4H-5Z",  # triangle
    "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",  # diamond
    "M0 5.2L5 -4H-5Z",  # triangle upside down
    "M-1.7 -5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",  # plus
    "M-5 -2.6L0 -5.4L5 -2.6V2.6L0 5.4L-5 2.6Z",  # hexagon
)
COLOURS = 8


@dataclass(frozen=True)
class Style:
    """How a method looks in every chart: never colour alone."""

    name: str
    colour: int
    shape: str


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    low: float | None
    high: float | None
    text: str
    label: str = ""


@dataclass(frozen=True)
class Series:
    """The points of a method, or of random images beside it (`dashed`); `style` None: of all."""

    name: str
    style: Style | None
    points: list[Point]
    dashed: bool = False
    path: str = ""


@dataclass(frozen=True)
class Chart:
    title: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]


@dataclass(frozen=True)
class Panel:
    """The charts of one (data, network, protocol)."""

    label: str
    found_by: dict[str, list[str]]
    charts: list[Chart]
    styles: list[Style]
    dashed: bool
    real: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    return {
        name: Style(name, index % COLOURS, SHAPES[index % len(SHAPES)])
        for index, name in enumerate(dict.fromkeys(names))
    }


def panels(rows: Sequence[Row], looks: dict[str, Style]) -> list[Panel]:
    """Return the panels, in the order of the bench."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.data, row.network, row.protocol, row.recipe].append(row)
    return [_panel(found, looks) for found in groups.values()]


def _panel(rows: list[Row], looks: dict[str, Style]) -> Panel:
    first = rows[0]
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.ipc):
        by_method[row.name].append(row)
    where = conditions(first.protocol, first.recipe)
    one_ipc = len({row.ipc for row in rows}) == 1
    charts = [
        _by_method(by_method, looks) if one_ipc else _by_ipc(by_method, looks),
        _by_cost(
            by_method,
            looks,
            "Accuracy and time",
            "pool + synthesis + relabel, per set",
            _total_seconds,
            seconds_axis,
            duration,
        ),
        _by_cost(
            by_method,
            looks,
            "Accuracy and storage",
            "images + labels",
            lambda row: max(1, row.image_bytes + row.label_bytes),
            bytes_axis,
            readable,
        ),
    ]
    found_by = {"data": [first.data], "network": [first.network], "protocol": [where]}
    label = f"{first.data} · {first.network} · {where}"
    return Panel(
        label,
        found_by,
        charts,
        [looks[name] for name in by_method],
        any(series.dashed for series in charts[0].series),
        f"All real data: {accuracy(first.real)} % (hard labels)." if first.real else "",
    )


def _by_ipc(by_method: dict[str, list[Row]], looks: dict[str, Style]) -> Chart:
    every = [row for rows in by_method.values() for row in rows]
    x_scale, x_ticks = ipc_axis([row.ipc for row in every], LEFT + 12, RIGHT - 12)
    y_scale, y_ticks = _accuracy_axis(every, random=True)
    series = []
    for ours, name, found in _baselines(by_method):
        points = [_point(x_scale(r.ipc), y_scale, found(r), f"{name}, ipc {r.ipc}") for r in ours]
        style = looks[ours[0].name] if name != "random images" else None
        series.append(Series(name, style, points, True, _path(points)))
    for index, (name, rows) in enumerate(by_method.items()):
        shift = (index - (len(by_method) - 1) / 2) * DODGE
        points = [
            _point(x_scale(r.ipc) + shift, y_scale, r.accuracy, f"{name}, ipc {r.ipc}")
            for r in rows
        ]
        series.append(Series(name, looks[name], points, path=_path(points)))
    return Chart("Accuracy and images per class", "images per class", x_ticks, y_ticks, series)


def _by_method(by_method: dict[str, list[Row]], looks: dict[str, Style]) -> Chart:
    """Return the first chart where there is a single ipc: a column for each method."""
    every = [row for rows in by_method.values() for row in rows]
    y_scale, y_ticks = _accuracy_axis(every, random=True)
    slot = (RIGHT - LEFT) / len(by_method)
    series, x_ticks = [], []
    for index, (name, rows) in enumerate(by_method.items()):
        x = round(LEFT + slot * (index + 0.5), 1)
        room = int(slot / 6.2)
        x_ticks.append(Tick(x, name if len(name) <= room else name[: max(1, room - 1)] + "…"))
        row = rows[0]
        if row.random is not None:
            point = _point(x, y_scale, row.random, f"random images beside {name}")
            path = f"M{x - slot * 0.3:.1f} {point.y}H{x + slot * 0.3:.1f}"
            series.append(Series(point.text, looks[name], [], True, path))
        point = _point(x, y_scale, row.accuracy, f"{name}, ipc {row.ipc}")
        series.append(Series(name, looks[name], [point]))
    title = f"Accuracy at {every[0].ipc} image{'s' if every[0].ipc > 1 else ''} per class"
    return Chart(title, "method", x_ticks, y_ticks, series)


def _by_cost(
    by_method: dict[str, list[Row]],
    looks: dict[str, Style],
    title: str,
    x_title: str,
    cost: Callable[[Row], float],
    axis: Callable[[Sequence[float], float, float], tuple[Scale, list[Tick]]],
    text: Callable[[float], str],
) -> Chart:
    every = [row for rows in by_method.values() for row in rows]
    x_scale, x_ticks = axis([cost(row) for row in every], LEFT + 6, RIGHT - 6)
    y_scale, y_ticks = _accuracy_axis(every, random=False)
    several = len({row.ipc for row in every}) > 1
    series, taken = [], list[tuple[float, float]]()
    for name, rows in by_method.items():
        points = [
            _point(
                x_scale(cost(r)),
                y_scale,
                r.accuracy,
                f"{name}, ipc {r.ipc}, {text(cost(r))}",
                str(r.ipc) if several else "",
            )
            for r in rows
        ]
        points = [_unless_taken(point, taken) for point in points]
        series.append(Series(name, looks[name], points, path=_path(points)))
    note = "; numbers: images per class" if several else ""
    return Chart(title, f"{x_title} (log{note})", x_ticks, y_ticks, series)


def _baselines(
    by_method: dict[str, list[Row]],
) -> list[tuple[list[Row], str, Callable[[Row], Spread]]]:
    """Return the lines of random images: one where it is the same beside all methods."""
    lines: dict[tuple[tuple[int, float], ...], list[list[Row]]] = defaultdict(list)
    for rows in by_method.values():
        with_random = [row for row in rows if row.random is not None]
        if with_random:
            lines[tuple((r.ipc, r.random.mean) for r in with_random if r.random)].append(
                with_random
            )
    one = len(lines) == 1
    return [
        (
            alike[0],
            "random images" if one else f"random images beside {alike[0][0].name}",
            lambda row: row.random or row.accuracy,
        )
        for alike in lines.values()
    ]


def _total_seconds(row: Row) -> float:
    total = row.seconds["pool"] + row.seconds["synthesis"] + row.seconds["relabel"]
    return max(LEAST_SECONDS, total)


def _accuracy_axis(rows: Sequence[Row], *, random: bool) -> tuple[Scale, list[Tick]]:
    found = [row.accuracy for row in rows]
    if random:
        found += [row.random for row in rows if row.random is not None]
    low = min(s.mean - _half(s) for s in found)
    high = max(s.mean + _half(s) for s in found)
    return percent_axis(low, high, BOTTOM, TOP)


def _half(found: Spread) -> float:
    return 0.0 if isnan(found.between) else found.between


def _point(x: float, y_scale: Scale, found: Spread, what: str, label: str = "") -> Point:
    half = _half(found)
    text = f"{what}: {accuracy(found)} %, n = {trained(found)}"
    low, high = found.mean - half, found.mean + half
    return Point(
        round(x, 1),
        y_scale(found.mean),
        y_scale(max(y_scale.low, low)) if half else None,
        y_scale(min(y_scale.high, high)) if half else None,
        text,
        label,
    )


def _unless_taken(point: Point, taken: list[tuple[float, float]]) -> Point:
    """Return a point without its label where another label is in the way."""
    if any(abs(point.x - x) < 16 and abs(point.y - y) < 11 for x, y in taken):
        return replace(point, label="")
    taken.append((point.x, point.y))
    return point


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{p.x} {p.y}" for p in points) if len(points) > 1 else ""
