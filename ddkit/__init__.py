"""ddkit: dataset distillation. Names are loaded when they are first used, torch with them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddkit.config import MethodOptions as MethodOptions
    from ddkit.config import option as option
    from ddkit.data.sources.registered import register_data as register_data
    from ddkit.distilled.dataset import DistilledDataset as DistilledDataset
    from ddkit.distilled.dataset import load as load
    from ddkit.evaluation.accuracy import Evaluation as Evaluation
    from ddkit.labels import EpochLabels as EpochLabels
    from ddkit.labels import HardLabels as HardLabels
    from ddkit.labels import Labels as Labels
    from ddkit.labels import SoftLabels as SoftLabels
    from ddkit.methods.hookspecs import hookimpl as hookimpl
    from ddkit.methods.plugin import Alias as Alias
    from ddkit.networks.saved import load_network as load_network
    from ddkit.pipeline.library import distill as distill
    from ddkit.pipeline.library import evaluate as evaluate
    from ddkit.pools.pool import Member as Member
    from ddkit.pools.pool import MemberTask as MemberTask
    from ddkit.pools.pool import Pool as Pool
    from ddkit.pools.pool import TaskContext as TaskContext
    from ddkit.pools.pool import Together as Together
    from ddkit.run import Run as Run
    from ddkit.runtime.errors import DdkitError as DdkitError
    from ddkit.runtime.loggers import Logger as Logger
    from ddkit.synthesis.gradients import with_gradients as with_gradients
    from ddkit.synthesis.objective import ImageObjective as ImageObjective
    from ddkit.synthesis.objective import Leaf as Leaf
    from ddkit.synthesis.objective import Objective as Objective
    from ddkit.synthesis.objective import Shard as Shard
    from ddkit.synthesis.objective import Synthetic as Synthetic

__version__ = "0.1.0"

_HOMES = {
    "config": ("MethodOptions", "option"),
    "data.sources.registered": ("register_data",),
    "distilled.dataset": ("DistilledDataset", "load"),
    "runtime.errors": ("DdkitError",),
    "evaluation.accuracy": ("Evaluation",),
    "synthesis.gradients": ("with_gradients",),
    "methods.hookspecs": ("hookimpl",),
    "labels": ("EpochLabels", "HardLabels", "Labels", "SoftLabels"),
    "pipeline.library": ("distill", "evaluate"),
    "runtime.loggers": ("Logger",),
    "synthesis.objective": ("ImageObjective", "Leaf", "Objective", "Shard", "Synthetic"),
    "methods.plugin": ("Alias",),
    "pools.pool": ("Member", "MemberTask", "Pool", "TaskContext", "Together"),
    "run": ("Run",),
    "networks.saved": ("load_network",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


if not TYPE_CHECKING:  # with it, type checkers would take any name for one of ddkit's

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'ddkit' has no attribute '{name}'")
        return getattr(import_module(f"ddkit.{_MODULES[name]}"), name)
