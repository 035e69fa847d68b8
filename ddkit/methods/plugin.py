"""Methods by name: found without importing them, checked when loaded, typed when called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from ddkit.config import StageConfig
from ddkit.methods import hookspecs
from ddkit.runtime.errors import DdkitError, unknown
from ddkit.runtime.registry import Registry, origin
from ddkit.runtime.settings import validated

if TYPE_CHECKING:
    from ddkit.distilled.dataset import DistilledDataset
    from ddkit.evaluation.result import Evaluation
    from ddkit.labels import Labels
    from ddkit.methods.options import MethodOptions
    from ddkit.pools.pool import Pool
    from ddkit.pools.tasks import MemberTask
    from ddkit.run import Run
    from ddkit.synthesis.images import Synthetic
    from ddkit.synthesis.objective import Objective

HOOKS = ("method_config", "check", "build_pool", "synthesis_loss", "relabel", "evaluate")
METHODS = Registry("method", "ddkit", hint="see `ddkit methods`")
ALIASES = Registry("alias", "ddkit.aliases", hint="see `ddkit methods`")
_MANAGERS: dict[tuple[Any, ...], pluggy.PluginManager] = {}  # a millisecond to make


@dataclass(frozen=True)
class Alias:
    """A name that stands for a method with other defaults, such as "sre2l" for "teddy".

    What it is stands in the `about.toml` of its package, or in `summary`. `factor` is that of its
    multi-formation: each stored image holds so many by so many training images.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    factor: int = 1
    summary: str = ""


def lookup(name: str) -> tuple[str, Alias | None]:
    """Return the plugin that a method's name stands for, and the alias if it is one."""
    if name in ALIASES.entries():
        alias: Alias = ALIASES.load(name)
        return alias.method, alias
    if name not in METHODS.entries():
        raise unknown("method", name, [*METHODS.entries(), *ALIASES.entries()], METHODS.hint)
    return name, None


def options_model(plugin: str) -> "type[MethodOptions]":
    """Return the model of a plugin's options."""
    return Plugin(plugin).options_model()


def options_of(stage: StageConfig) -> "MethodOptions":
    """Return the options of a stage as its plugin's own model."""
    model = options_model(stage.plugin)
    return validated(model, stage.options, f"the method '{stage.plugin}'")


def steps_setting(method: str, steps: int) -> tuple[str, int]:
    """Return the option that counts the synthesis steps of a method or alias, and `steps` for it.

    Raises `DdkitError` where the method takes no steps, and for less than one: some methods take
    zero for the published number.
    """
    option = options_model(lookup(method)[0]).steps_option
    if option is None:
        raise DdkitError(f"the method '{method}' has no steps: leave out --steps")
    if steps < 1:
        raise DdkitError(f"--steps must be 1 or more (got {steps})")
    return option, steps


class Plugin:
    """One method, loaded: pluggy's untyped hook calls as typed methods.

    Each method has a plugin manager of its own, so that one which serves a stage of a run changes
    no other stage.
    """

    def __init__(self, name: str):
        self.name = name
        module = METHODS.load(name)
        hooks = (getattr(module, hook, None) for hook in HOOKS)
        key = (name, id(module), *hooks)  # a manager keeps its module alive
        if key not in _MANAGERS:
            _MANAGERS[key] = _managed(name, module)
        self._manager = _MANAGERS[key]

    def options_model(self) -> "type[MethodOptions]":
        from ddkit.methods.options import MethodOptions

        model = self._checked("method_config", type)
        if not issubclass(model, MethodOptions):
            raise DdkitError(
                f"the hook 'method_config' of the method '{self.name}' returned {model.__name__}, "
                "which is not a subclass of ddkit.MethodOptions"
            )
        return model  # type: ignore[no-any-return]

    def check(self, run: "Run") -> None:
        self._manager.hook.check(run=run)

    def build_pool(self, run: "Run") -> "Sequence[MemberTask]":
        return self._checked("build_pool", Sequence, run=run)  # type: ignore[no-any-return]

    def synthesis_loss(self, run: "Run", pool: "Pool") -> "Objective":
        from ddkit.synthesis.objective import Objective

        return self._checked("synthesis_loss", Objective, run=run, pool=pool)  # type: ignore[no-any-return]

    def relabel(self, run: "Run", pool: "Pool", images: "Synthetic") -> "Labels":
        from ddkit.labels import Labels

        return self._checked("relabel", Labels, run=run, pool=pool, images=images)  # type: ignore[no-any-return]

    def evaluate(
        self, run: "Run", distilled: "DistilledDataset", network: str, seeds: Sequence[int]
    ) -> "Evaluation":
        from ddkit.evaluation.result import Evaluation

        return self._checked(  # type: ignore[no-any-return]
            "evaluate", Evaluation, run=run, distilled=distilled, network=network, seeds=seeds
        )

    def overridden(self) -> list[str]:
        """Return the hooks that the plugin itself implements, in the order of a run."""
        hooks = {name: getattr(self._manager.hook, name) for name in HOOKS}
        return [
            name
            for name, hook in hooks.items()
            if any(found.plugin_name == self.name for found in hook.get_hookimpls())
        ]

    def _checked(self, hook: str, kind: type, **arguments: Any) -> Any:
        result = getattr(self._manager.hook, hook)(**arguments)
        if isinstance(result, kind):
            return result
        if result is None:
            raise DdkitError(f"the method '{self.name}' returned nothing from its hook '{hook}'")
        raise DdkitError(
            f"the hook '{hook}' of the method '{self.name}' returned a "
            f"{type(result).__name__}, not a {kind.__name__}; see docs/architecture.md"
        )


def _managed(name: str, module: Any) -> pluggy.PluginManager:
    from ddkit.methods import defaults

    manager = pluggy.PluginManager("ddkit")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(defaults, "ddkit defaults")
        manager.register(module, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        where = origin(METHODS.entries()[name])
        text = " ".join(str(error).split())
        raise DdkitError(f"the method '{name}' of {where} has a faulty hook: {text}") from error
    return manager
