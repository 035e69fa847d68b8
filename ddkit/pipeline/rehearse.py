"""What a run will take, from a rehearsal on made-up images: a small pool, a few real steps.

Neither time nor memory of a step depends on what pixels and weights are, so no data are needed and
no long training: what is rehearsed on less is scaled by what the method says of its work.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from ddkit.config import RunConfig, StageConfig, StageName
from ddkit.data.loading.batching import batch_count
from ddkit.data.space import InputSpace
from ddkit.data.split import Split
from ddkit.labels import EpochLabels, Labels, SoftLabels
from ddkit.labels.converting import in_form, other_forms
from ddkit.methods.options import MethodOptions
from ddkit.methods.plugin import Plugin, options_of
from ddkit.pipeline.estimate import Data, Estimate, Labelled
from ddkit.pipeline.prepare import check_settings, device_of
from ddkit.pipeline.shortage import ways_out
from ddkit.pipeline.stages import Stage, Stages, pool_description
from ddkit.pools.cache import size
from ddkit.pools.pool import Pool
from ddkit.pools.training import train_pool
from ddkit.run import Run
from ddkit.runtime.cache import stable_hash
from ddkit.runtime.process import settle
from ddkit.runtime.shortage import enough_memory
from ddkit.synthesis.engine import Engine
from ddkit.synthesis.images import Synthetic, stored

Result = TypeVar("Result")
BATCH = 32  # of a rehearsed training: a batch of 256 large images takes minutes on a CPU
IMAGES = 128  # made up: some batches
LABELLED = 32  # images that are labelled in a rehearsal, where a run has more
PACE_STEPS, PACE_SECONDS = 3, 5.0
WARM_SECONDS = 5.0  # a pool that takes longer is trained once


def rehearse(config: RunConfig, data: Data) -> Estimate:
    """Return what a run will take; raises `DdkitError` for what is wrong with it."""
    with TemporaryDirectory(prefix="ddkit-rehearsal-") as folder, rehearsing(config):
        rehearsal = Rehearsal(config, data, Path(folder))
        rehearsal.check()
        pools = {pool.source: pool for pool in (rehearsal.synthesis_pool, rehearsal.relabel_pool)}
        synthesis, peak = rehearsal.synthesise()
        images = rehearsal.images(LABELLED)
        labels = rehearsal.relabel(images)
        return Estimate(
            sum(pool.seconds for pool in pools.values()),
            synthesis,
            labels.seconds,
            peak,
            sum(pool.bytes for pool in pools.values()),
            images.images[0].nbytes * rehearsal.run.total,
            labels.bytes,
        )


def rehearsing(config: RunConfig) -> AbstractContextManager[None]:
    """Return a block that says in one line where memory runs out: most is taken by steps."""
    ways = partial(ways_out, config, "synthesis")
    return enough_memory("the rehearsal of the run", config.device, ways)


@dataclass(frozen=True)
class RehearsedPool:
    """A small pool, and what the real one takes; equal `source`, one pool in the cache."""

    pool: Pool
    source: str
    seconds: float
    bytes: int


class Rehearsal:
    """One run in small, in a folder that is thrown away; this process then computes as it says."""

    def __init__(self, config: RunConfig, data: Data, folder: Path):
        self.config = config
        self.data = data
        self.folder = folder
        named = {"relabel_from": config.relabel_from, "pool_from": config.pool_from}
        small = {
            name: StageConfig(plugin=source.plugin, options=_small(source))
            for name, source in named.items()
            if source is not None
        }
        own = _small(StageConfig(plugin=config.plugin, options=config.options))
        self.small = config.model_copy(update={**small, "options": own, "init": "noise"})
        device = device_of(config)
        settle(device, config.precision, config.threads)
        sources = (config.pool_stage("synthesis"), config.pool_stage("relabel"))
        train = _made_up(data, any(options_of(source).looks_at_classes for source in sources))
        space = InputSpace.fit(train, config.data.space).to(device)
        self.run = Run(self.small, MethodOptions(), train, None, space, device, folder)
        self._synthesis = Stage(self.run, "synthesis")
        self._valid = config.init != "noise"  # whether images are pixels, as far as is known

    def check(self) -> None:
        """Raise `DdkitError` where the run itself would refuse its settings."""
        run = self.run
        train = _repeated(run.train, max(1, self.data.images // self.data.classes))
        holdout = train if self.config.data.holdout else None
        check_settings(Stages(replace(run, config=self.config, train=train, holdout=holdout)))

    @cached_property
    def synthesis_pool(self) -> RehearsedPool:
        return self._pool("synthesis")

    @cached_property
    def relabel_pool(self) -> RehearsedPool:
        same = self.config.pool_stage("relabel") == self.config.pool_stage("synthesis")
        return self.synthesis_pool if same else self._pool("relabel")

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        """The options that the run settles by measuring."""
        return self._synthesis.objective(self.synthesis_pool.pool).measured()

    @cached_property
    def engine(self) -> Engine:
        """The synthesis of the small pool, at the run's own size."""
        return self._engine({})

    def extent(self) -> tuple[int, int]:
        """Return the steps of all shards together, and the images of the largest shard."""
        objective = self.engine.objective
        shards = objective.shards()
        return objective.steps * len(shards), max(len(shard) for shard in shards)

    @cached_property
    def step(self) -> tuple[float, int]:
        """The seconds and the peak bytes of a step."""
        options = self._synthesis.run.options.model_copy(update=self.measured)
        name, few = options.inner_loop or ("", 0)
        many: int = getattr(options, name) if few else 0
        if 2 * few >= many or self.config.memory_budget is not None:  # it cuts: no line then
            return self._step(self.engine)
        kept: int = getattr(options, options.kept_option) if options.kept_option else 0

        def taken(number: int, kept: int) -> tuple[float, int]:
            changes = {options.kept_option: kept} if options.kept_option else {}
            return self._step(self._engine({name: number, **changes}))

        first = taken(few, min(kept, few))
        lines = [(taken(2 * few, min(kept, few)), many - few)]
        if kept > few:  # a line up to as many as are kept, and another one beyond
            lines = [(taken(2 * few, 2 * few), min(kept, many) - few)]
            if kept < many:
                lines.append((taken(2 * few, few), many - kept))
        seconds, peak = (
            a + sum((more[i] - a) * loops / few for more, loops in lines)
            for i, a in enumerate(first)
        )
        return max(lines[0][0][0], seconds), round(peak)

    def synthesise(self) -> tuple[float, int]:
        """Return the seconds of all steps of all shards, and the peak bytes of one."""
        steps, _ = self.extent()
        if not steps:
            return 0.0, 0
        seconds, peak = self.step
        return seconds * steps, peak

    def images(self, most: int | None = None) -> Synthetic:
        """Return made-up images as the run stores them: as many as it distils, or `most` of them.

        Once a step was rehearsed, it is known whether the method leaves the range of valid pixels.
        """
        count = min(self.run.total, most or self.run.total)
        images = torch.rand(count, *self.data.shape, generator=torch.Generator())
        classes = torch.arange(count) % self.data.classes
        how = self.config.store
        if how == "auto" and not self._valid:
            how = "float32"
        return Synthetic(stored(images, how), classes, factor=self.config.factor)

    def relabel(self, images: Synthetic) -> Labelled:
        """Return what the labels of the whole set take."""
        stage = self.config.stage("relabel")
        small = Stage(self.run, "relabel")
        run, decoded = small.run, images.decoded()
        labels, seconds = _timed(lambda: small.labels(self.relabel_pool.pool, decoded))
        asked = options_of(stage)
        parts = self.run.total / len(images)
        more = parts * asked.volume("relabel") / run.options.volume("relabel")

        def size(labels: Labels) -> int:
            return round(
                sum(
                    tensor.nbytes * (more if tensor.numel() >= len(decoded) else 1)
                    for tensor in labels.tensors().values()  # some say how the others are meant
                )
            )

        return Labelled(
            seconds * parts * asked.work("relabel", 1) / run.options.work("relabel", 1),
            size(labels),
            {
                form: size(in_form(labels, form))
                for form in other_forms(self.data.classes)
                if isinstance(labels, SoftLabels | EpochLabels)
            },
        )

    def _engine(self, changes: Mapping[str, object]) -> Engine:
        """Return the synthesis with some of its options changed."""
        stage = self._synthesis
        options = stage.run.options.model_copy(update={**self.measured, **changes})
        run = replace(stage.run, options=options)
        each = min(run.options.real_per_class, self.data.images // self.data.classes)
        if each:
            run = replace(run, train=_repeated(run.train, each))
        pool = self.synthesis_pool.pool
        return Engine(self.run, stage.objective(pool, run))

    def _step(self, engine: Engine) -> tuple[float, int]:
        stepped, peak = engine.first_step()
        self._valid = stored(stepped.images, "auto").dtype == torch.uint8
        return engine.pace(PACE_STEPS, PACE_SECONDS), peak

    def _pool(self, stage: StageName) -> RehearsedPool:
        """Train a stage's pool in small."""
        source = self.config.pool_stage(stage)
        run = Stage(self.run, stage).pool_run
        folder = self.folder / f"pool-{stage}"
        if self.config.pool is not None:
            from ddkit.pools import named as named_pool

            return RehearsedPool(
                Pool.open(named_pool.folder_of(self.config.pool), run.device), "named", 0.0, 0
            )
        asked = options_of(source)
        plugin = Plugin(source.plugin)
        plugin.build_pool(replace(run, options=asked))  # refuses what is impossible
        tasks = plugin.build_pool(run)
        if not tasks:
            return RehearsedPool(Pool(folder, run.device), source.plugin, 0.0, 0)
        description = pool_description(run, source)
        train = partial(train_pool, tasks)
        _, seconds = _timed(lambda: train(folder, description, run.space, run.device))
        if seconds < WARM_SECONDS:  # then what is done once, and allocated, counts
            again = self.folder / f"pool-{stage}-again"
            _, seconds = _timed(lambda: train(again, description, run.space, run.device))
        work = images_seen(asked, self.data.images)
        done = images_seen(run.options, len(run.train))
        volume = asked.volume("pool") / run.options.volume("pool")
        return RehearsedPool(
            Pool.open(folder, run.device),
            stable_hash(description),
            seconds * work / done,
            round(size(folder) * volume),
        )


def images_seen(options: MethodOptions, images: int) -> float:
    """Return the work of a pool's training, in images: a rehearsal takes smaller batches."""
    batch: int = getattr(options, "train_batch", BATCH)
    return options.work("pool", batch_count(images, batch)) * batch


def _small(source: StageConfig) -> dict[str, object]:
    options = {**source.options, **options_of(source).rehearsed()}
    if "train_batch" in options:
        options["train_batch"] = min(options["train_batch"], BATCH)
    return options


def _made_up(data: Data, every_class: bool) -> Split:
    """Return random images of the shape of the data, some of each class where that matters."""
    count = max(data.classes if every_class else 1, min(IMAGES, data.images))
    pixels = torch.randint(256, (count, *data.shape), generator=torch.Generator()).byte()
    names = tuple(str(number) for number in range(data.classes))
    return Split(pixels, torch.arange(count) % data.classes, names)


def _repeated(split: Split, each: int) -> Split:
    """Return the first image as `each` images of every class: one image in memory."""
    count = each * len(split.classes)
    image = split.take(torch.tensor([0]))
    labels = torch.arange(count) % len(split.classes)
    return Split(image.expand(count, -1, -1, -1), labels, split.classes)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
