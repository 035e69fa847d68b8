"""The stages of a run: of each its plugin, its options and its pool, made once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ddkit import networks
from ddkit.config import RunConfig, StageConfig, StageName
from ddkit.labels import Labels
from ddkit.labels.converting import in_form
from ddkit.methods.plugin import METHODS, Plugin, options_model, options_of
from ddkit.pipeline.shortage import enough_memory_for
from ddkit.pools import named
from ddkit.pools.pool import POOL_VERSION, Pool
from ddkit.pools.tasks import MemberTask
from ddkit.pools.training import train_pool
from ddkit.run import Run
from ddkit.runtime.cache import by_content, cache_folder, stable_hash
from ddkit.runtime.cost import Cost
from ddkit.runtime.errors import DdkitError
from ddkit.runtime.execution.local import LOCAL
from ddkit.runtime.execution.units import Executor
from ddkit.runtime.files import locked, remove_temporaries
from ddkit.runtime.registry import origin
from ddkit.synthesis.formed import formed
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.objective import Objective


@dataclass(frozen=True)
class PoolPlan:
    """What trains a pool: its tasks, its folder in the cache, and all that determines it."""

    tasks: Sequence[MemberTask]
    folder: Path
    description: dict[str, Any]


class Stages:
    """The stages of a run, by name; two that work with the same pool plan it together."""

    def __init__(self, run: Run):
        self.run = run
        self._made: dict[StageName, Stage] = {}
        self._opened: dict[Path, Pool] = {}

    def __getitem__(self, name: StageName) -> "Stage":
        if name not in self._made:
            own = self.run.config.pool_stage(name)
            with_same_pool = [
                stage
                for stage in self._made.values()
                if self.run.config.pool_stage(stage.name) == own
            ]
            same = next(iter(with_same_pool), None)
            self._made[name] = Stage(self.run, name, same, self._opened)
        return self._made[name]


class Stage:
    """One stage of a run.

    Attributes:
        whole: the run, without the options of any plugin.
        name: of the stage.
    """

    def __init__(
        self,
        whole: Run,
        name: StageName,
        with_same_pool: "Stage | None" = None,
        opened: dict[Path, Pool] | None = None,
    ):
        self.whole = whole
        self.name = name
        self._with_same_pool = with_same_pool
        self._opened = {} if opened is None else opened

    @cached_property
    def plugin(self) -> Plugin:
        """The plugin that does the stage."""
        return Plugin(self.whole.config.stage(self.name).plugin)

    @cached_property
    def run(self) -> Run:
        """The run as the stage's plugin gets it: with its options, and those of its pool.

        Where stored images hold several, it sees these.
        """
        config = self.whole.config
        return replace(
            self.whole.decoded,
            options=options_of(config.stage(self.name)),
            pool_options=options_of(config.pool_stage(self.name)),
        )

    @cached_property
    def pool_run(self) -> Run:
        """The run as the hook that builds the pool gets it.

        Its seed is the pool's, so that distillation seeds can share one.
        """
        config = self.whole.config.model_copy(update={"seed": self.whole.config.pool_seed})
        return replace(self.run, config=config, options=self.run.pool_options)

    @cached_property
    def plan(self) -> PoolPlan:
        """What trains the pool that the stage works with."""
        if self._with_same_pool is not None:
            return self._with_same_pool.plan
        source = self.whole.config.pool_stage(self.name)
        plugin = self.plugin if source.plugin == self.plugin.name else Plugin(source.plugin)
        tasks = plugin.build_pool(self.pool_run)
        description = pool_description(self.pool_run, source)
        folder = cache_folder("pools") / f"{source.plugin}-{stable_hash(description)}"
        return PoolPlan(tasks, folder, description)

    def finished_pool(self) -> Pool | None:
        """Return the pool that the stage works with, or None where it must be trained first.

        The pool that the run names serves every stage, and nothing is trained.
        """
        if self.whole.config.pool is not None:
            return self._open(named.folder_of(self.whole.config.pool))
        folder = self.plan.folder
        if not self.plan.tasks:
            return Pool(folder, self.whole.device)
        return self._open(folder) if (folder / "pool.json").exists() else None

    def _open(self, folder: Path) -> Pool:
        """Return a finished pool, none of its networks loaded; its files are opened once."""
        if folder not in self._opened:
            self._opened[folder] = Pool.open(folder, self.whole.device)
        return self._opened[folder].fresh()

    def pool(self, executor: Executor = LOCAL) -> Pool:
        """Return the pool that the stage works with, trained first where the cache lacks it."""
        finished = self.finished_pool()
        if finished is not None:
            return finished
        run, folder = self.whole, self.plan.folder
        with locked(folder, "the pool", wait=True):
            if not (folder / "pool.json").exists():
                remove_temporaries(folder)
                function = "ddkit.pipeline.work:train_group"
                job = run.job("pool", function, stage=self.name, pool=str(folder.absolute()))
                with Cost(folder).measure("training"), enough_memory_for(run.config, "pool"):
                    train_pool(
                        self.plan.tasks,
                        folder,
                        self.plan.description,
                        run.space,
                        run.device,
                        job,
                        executor,
                        run.progress,
                    )
        return self._open(folder)

    def check_roles(self) -> None:
        """Raise `DdkitError` where a finished pool has no member that the stage could work with."""
        pool = self.finished_pool()
        needed = self.plugin.options_model().needs.get(self.name, ())
        if pool is not None and len(pool) and needed and not pool.with_role(*needed):
            has = " and ".join(sorted({member.role for member in pool.members}))
            raise DdkitError(
                f"the {self.name} of '{self.plugin.name}' needs members of the role "
                f"{' or '.join(needed)}, but the pool {pool.folder.name} has {has}: name another "
                "pool, or leave it out"
            )

    def objective(self, pool: Pool, run: Run | None = None) -> Objective:
        """Return what the synthesis optimises; another `run` than the stage's rehearses it."""
        return formed(self.plugin.synthesis_loss(run or self.run, pool), self.whole)

    def labels(self, pool: Pool, images: Synthetic) -> Labels:
        """Return the labels of training images, in the form that the run asks for."""
        labels = self.plugin.relabel(self.run, pool, images)
        return in_form(labels, self.whole.config.labels_as, self.whole.config.label_views)


def open_pool(run: Run, name: StageName) -> Pool:
    """Return the pool that a stage of a run works with, trained first where the cache lacks it."""
    return Stage(run, name).pool()


def pool_description(run: Run, source: StageConfig) -> dict[str, Any]:
    """Return all that determines a pool: equal descriptions, one pool in the cache."""
    model = options_model(source.plugin)
    relevant = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        stages = extra.get("stages", ["pool"]) if isinstance(extra, dict) else ["pool"]
        if isinstance(stages, list) and "pool" in stages and name in source.options:
            relevant[name] = by_content(source.options[name])
    config: RunConfig = run.config
    own = options_of(source).member_networks
    return {
        "version": POOL_VERSION,
        "plugin": source.plugin,
        "from": origin(METHODS.entries()[source.plugin]),
        "options": relevant,
        "network": config.network,
        "network_fingerprint": networks.spec_fingerprint(config.network),
        **({"networks": [networks.spec_fingerprint(spec) for spec in own]} if own else {}),
        "data": run.train.fingerprint,
        "mirror": run.train.mirror,
        "data_name": config.data.tag,
        "classes": len(run.classes),
        "shape": list(run.shape),
        "space": run.space.fingerprint(),
        "seed": config.seed,
        "device": run.device.type,
        "precision": config.precision,
        "compile": config.compile,
        "threads": config.threads,
    }
