"""ddkit: dataset distillation. Names are loaded when they are first used, torch with them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddkit.config import MethodOptions as MethodOptions
    from ddkit.config import option as option
    from ddkit.data.registered import register_data as register_data
    from ddkit.distilled import DistilledDataset as DistilledDataset
    from ddkit.distilled import load as load
    from ddkit.errors import DdkitError as DdkitError
    from ddkit.evaluation import Evaluation as Evaluation
    from ddkit.gradients import with_gradients as with_gradients
    from ddkit.hookspecs import hookimpl as hookimpl
    from ddkit.labels import EpochLabels as EpochLabels
    from ddkit.labels import HardLabels as HardLabels
    from ddkit.labels import Labels as Labels
    from ddkit.labels import SoftLabels as SoftLabels
    from ddkit.library import distill as distill
    from ddkit.library import evaluate as evaluate
    from ddkit.loggers import Logger as Logger
    from ddkit.objective import ImageObjective as ImageObjective
    from ddkit.objective import Leaf as Leaf
    from ddkit.objective import Objective as Objective
    from ddkit.objective import Shard as Shard
    from ddkit.objective import Synthetic as Synthetic
    from ddkit.plugins import Alias as Alias
    from ddkit.pool import Member as Member
    from ddkit.pool import MemberTask as MemberTask
    from ddkit.pool import Pool as Pool
    from ddkit.pool import TaskContext as TaskContext
    from ddkit.pool import Together as Together
    from ddkit.run import Run as Run
    from ddkit.trained import load_network as load_network

__version__ = "0.1.0"

_HOMES = {
    "config": ("MethodOptions", "option"),
    "data.registered": ("register_data",),
    "distilled": ("DistilledDataset", "load"),
    "errors": ("DdkitError",),
    "evaluation": ("Evaluation",),
    "gradients": ("with_gradients",),
    "hookspecs": ("hookimpl",),
    "labels": ("EpochLabels", "HardLabels", "Labels", "SoftLabels"),
    "library": ("distill", "evaluate"),
    "loggers": ("Logger",),
    "objective": ("ImageObjective", "Leaf", "Objective", "Shard", "Synthetic"),
    "plugins": ("Alias",),
    "pool": ("Member", "MemberTask", "Pool", "TaskContext", "Together"),
    "run": ("Run",),
    "trained": ("load_network",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


if not TYPE_CHECKING:  # with it, type checkers would take any name for one of ddkit's

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'ddkit' has no attribute '{name}'")
        return getattr(import_module(f"ddkit.{_MODULES[name]}"), name)
