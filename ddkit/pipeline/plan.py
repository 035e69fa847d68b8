"""What a run will take, stage by stage, and whether it fits: for `ddkit plan`.

Large sets are not rehearsed at their size: memory and time of a step are lines in the number of
images of the set and of a step, so that two small sizes of each say what a third one takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from ddkit.config import RunConfig
from ddkit.data.access import sealed_test
from ddkit.data.options import DataOptions, class_count
from ddkit.data.sources.folders import is_path
from ddkit.data.sources.load import look
from ddkit.data.sources.names import SIZES
from ddkit.methods.plugin import options_model
from ddkit.pipeline.estimate import Data, Estimate
from ddkit.pipeline.prepare import device_of
from ddkit.pipeline.rehearse import LABELLED, Rehearsal, rehearsing
from ddkit.runtime import memory
from ddkit.runtime.cache import cache_folder
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.files import free_disk
from ddkit.runtime.progress import Progress, Silent
from ddkit.runtime.sizes import readable

SMALL_BATCH = (16, 48)  # sizes of a step; sets are tried that hold the larger one, and twice


@dataclass(frozen=True)
class Line:
    """A figure as constant + per_image × images of the set + per_drawn × images of a step."""

    constant: float
    per_image: float
    per_drawn: float

    def at(self, images: int, drawn: int) -> float:
        return self.constant + self.per_image * images + self.per_drawn * drawn


@dataclass(frozen=True)
class Plan(Estimate):
    """What a run takes, and how memory would change with its size.

    Attributes:
        peak: bytes of a step, over the images of the largest shard and those drawn in a step.
        images, drawn: these numbers.
        pools: seconds of the pool of the synthesis, and of that of the labels where it is another.
        forms: bytes of soft labels in other forms, for as many epochs.
    """

    peak: Line
    images: int
    drawn: int
    pools: tuple[float, ...]
    forms: Mapping[str, int]


def data_of(options: DataOptions, said: Data | None = None) -> Data:
    """Return what a data set holds, at the size and with the classes asked for.

    What is known by its name is not looked at; of image files some are opened, and none of the
    others. Raises `DdkitError` where `ddkit.data.sources.load.load` does.
    """
    known = said or (Data(*SIZES[options.name]) if options.name in SIZES else None)
    if known is None:
        try:
            return Data(*look(options))
        except DdkitError as error:
            if is_path(options.name):
                raise
            raise DdkitError(f"{error}; or say what it holds: --like 50000,10,3x32x32") from error
    channels, height, width = known.shape
    if options.resize is not None:
        height = width = options.resize
    classes = class_count(options.classes) if options.classes else known.classes
    return Data(known.images * classes // known.classes, classes, (channels, height, width))


def plan(config: RunConfig, data: Data, progress: Progress | None = None) -> Plan:
    """Rehearse a run in small, and return what it takes whole.

    Raises `DdkitError` for what is wrong with the run.
    """
    with (
        TemporaryDirectory(prefix="ddkit-plan-") as folder,
        sealed_test(),
        rehearsing(config),
        (progress or Silent()).task("rehearsal", 4) as bar,
    ):
        whole = Rehearsal(config, data, Path(folder) / "whole")
        whole.check()
        pools = {pool.source: pool for pool in (whole.synthesis_pool, whole.relabel_pool)}
        bar.advance()
        steps, largest = whole.extent()
        drawn = drawn_images(config, largest)
        sizes = Sizes(config, data, whole, largest, drawn)
        ipc = sizes.ipcs[0]
        small = sizes.rehearsal(ipc, sizes.batches[0])
        if steps:
            _ = small.step  # then it is known whether images leave the range of bytes
        bar.advance()
        images = small.images(LABELLED)
        labels = small.relabel(images)
        bar.advance()
        more = config.ipc / ipc
        seconds, peak = sizes.lines() if steps else (NOTHING, NOTHING)
        bar.advance()
        return Plan(
            sum(pool.seconds for pool in pools.values()),
            steps * max(0.0, seconds.at(largest, drawn)),
            labels.seconds * more,
            round(peak.at(largest, drawn)),
            sum(pool.bytes for pool in pools.values()),
            images.images[0].nbytes * data.classes * config.ipc,
            round(labels.bytes * more),
            peak,
            largest,
            drawn,
            tuple(pool.seconds for pool in pools.values()),
            {form: round(size * more) for form, size in labels.forms.items()},
        )


def drawn_images(config: RunConfig, largest: int) -> int:
    """Return how many images a step works on: those of a batch, where the method has such."""
    option = options_model(config.plugin).batch_option
    return min(config.options[option] or largest if option else largest, largest)


@dataclass(frozen=True, eq=False)
class Sizes:
    """A run at small sizes, with the pool of the whole one.

    Attributes:
        largest, drawn: images of the largest shard, and of a step, of the whole run.
    """

    config: RunConfig
    data: Data
    whole: Rehearsal
    largest: int
    drawn: int

    @property
    def ipcs(self) -> tuple[int, ...]:
        """The images per class that are tried; one, as it is, where there are few.

        As it is under a memory budget too: what a step takes then is no line.
        """
        if self.config.memory_budget is not None:
            return (self.config.ipc,)
        least = ceil(SMALL_BATCH[1] / self.data.classes)
        return (least, 2 * least) if self.config.ipc > 2 * least else (self.config.ipc,)

    @property
    def batches(self) -> tuple[int | None, ...]:
        """The sizes of a step that are tried; one, as it is, where it is small or all there is.

        They divide the set where they can: a rest of a few images would count as a whole batch.
        """
        option = options_model(self.config.plugin).batch_option
        said = option is not None and bool(self.config.options[option])
        apart = said and self.drawn > SMALL_BATCH[1] and len(self.ipcs) > 1
        return whole_batches(self.ipcs[0] * self.data.classes) if apart else (None,)

    @cache  # noqa: B019 - it lives as long as a plan is made
    def rehearsal(self, ipc: int, batch: int | None) -> Rehearsal:
        """Return a rehearsal with so many images per class, and in a step."""
        options = {**self.config.options, **self.whole.measured}
        if batch is not None:
            options[str(options_model(self.config.plugin).batch_option)] = batch
        groups = min(self.config.groups, ipc)
        config = self.config.model_copy(update={"ipc": ipc, "options": options, "groups": groups})
        folder = self.whole.folder.with_name(f"{ipc}-{batch}")
        small = Rehearsal(config, self.data, folder)
        small.synthesis_pool = self.whole.synthesis_pool
        small.relabel_pool = self.whole.relabel_pool
        return small

    def lines(self) -> tuple[Line, Line]:
        """Return seconds and peak bytes of a step."""
        tried = [(ipc, self.batches[0]) for ipc in self.ipcs]
        tried += [(self.ipcs[0], batch) for batch in self.batches[1:]]
        points = []
        for ipc, batch in tried:
            small = self.rehearsal(ipc, batch)
            _, largest = small.extent()
            points.append((largest, drawn_images(small.config, largest), small.step))
        peak = line([(images, drawn, step[1]) for images, drawn, step in points])
        seconds = [(images, drawn, step[0]) for images, drawn, step in points]
        if len(seconds) == 3:  # images that are not drawn rest: the difference is noise
            (_, drawn, first), (_, _, second), third = seconds
            seconds = [(drawn, drawn, min(first, second)), (third[1], third[1], third[2])]
            along = line(seconds)
            return Line(along.constant, 0.0, along.per_image), peak
        return line(seconds), peak


def whole_batches(images: int) -> tuple[int, int]:
    """Return two sizes that divide a set, the nearest to `SMALL_BATCH`; or these."""
    sizes = [size for size in range(2, images + 1) if images % size == 0]
    small, large = (min(sizes, key=lambda size: abs(size - wanted)) for wanted in SMALL_BATCH)
    return (small, large) if small < large else SMALL_BATCH


def line(points: Sequence[tuple[int, int, float]]) -> Line:
    """Return the line through (images, drawn, figure): one point, two, or three.

    Two differ in both numbers, which are then equal: all images are drawn. Of three, the second
    differs from the first in images, if at all, and the third in those drawn.
    """
    (images, drawn, first), *others = points
    if not others:
        return Line(first, 0.0, 0.0)
    apart = others[0][0] - images  # 0 where shards are batches, whatever the size of the set
    slope = (others[0][2] - first) / apart if apart else 0.0
    if len(others) == 1:
        return Line(first - slope * images, slope, 0.0)
    per_drawn = (others[1][2] - first) / (others[1][1] - drawn)
    return Line(first - slope * images - per_drawn * drawn, slope, per_drawn)


NOTHING = Line(0.0, 0.0, 0.0)


def check_fits(config: RunConfig, found: Plan) -> None:
    """Raise `DdkitError` where a run does not fit this machine, with what would."""
    limit, where = free_memory(config)
    if found.peak_bytes > limit:
        raise DdkitError(
            f"a step needs {readable(found.peak_bytes)}, but {where} has {readable(limit)} left: "
            f"{advice(config, found, limit)}"
        )
    place = cache_folder("pools")
    room = free_disk(place)
    if found.disk_bytes > room:
        raise DdkitError(
            f"pools, images and labels need {readable(found.disk_bytes)}, but {place} has "
            f"{readable(room)} left: name another disk (DDKIT_CACHE), or use fewer members and "
            "label epochs"
        )


def free_memory(config: RunConfig) -> tuple[int, str]:
    """Return the bytes that a run may take, and what has them."""
    if config.memory_budget is not None:
        return config.memory_budget, "the memory budget"
    device = device_of(config)
    return memory.free_memory(device), "this machine" if device.type == "cpu" else str(device)


def advice(config: RunConfig, found: Plan, limit: int) -> str:
    """Return what would fit: a smaller batch, where the method has one, or more groups."""
    option = options_model(config.plugin).batch_option
    least = found.peak.at(found.images, 0)
    if option and found.peak.per_drawn > 0 and least < limit:
        batch = int((limit - least) / found.peak.per_drawn)
        if batch >= 1:
            return f"--set {option}={batch} would fit"
    if config.groups < config.ipc and found.peak.per_image > 0:
        return f"try --groups {min(config.ipc, 2 * config.groups)}, which distils parts apart"
    return "a smaller network, fewer teachers or a larger device would"
