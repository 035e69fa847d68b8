"""The options of a method, typed, with their meaning and the stages that they matter to."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from ddkit.config import STAGES, StageName
from ddkit.runtime.settings import Growing, Strict


class MethodOptions(Strict, Growing):
    """The options of a method; a plugin's `method_config` returns a subclass.

    One that names in `later` the options that came later keeps its runs and pools as they were.
    """

    default_network: ClassVar[str | None] = None
    """The network of a run that names none; None where the method has no preference."""

    makes_own_shards: ClassVar[bool] = False
    """Whether the method cuts the set into independent parts by itself, and needs no --groups."""

    keeps_budget: ClassVar[bool] = False
    """Whether the method can keep to `memory_budget`; others refuse to have one."""

    provides: ClassVar[tuple[str, ...]] = ()
    """The roles of the members of the pool that the method builds."""

    needs: ClassVar[Mapping[StageName, tuple[str, ...]]] = {}
    """For each stage the roles it can work with, one of which its pool must have; none: any."""

    steps_option: ClassVar[str | None] = None
    """The option that says how many steps the synthesis takes; None where it takes none."""

    batch_option: ClassVar[str | None] = None
    """The option that says how many images a step works on, 0 for all; None where none does."""

    lighter: ClassVar[Mapping[StageName, tuple[str, ...]]] = {}
    """For each stage the options of which smaller values take less memory, the first the most."""

    kept_option: ClassVar[str | None] = None
    """The option that says of how many inner loops a step keeps more than of others."""

    shorter: ClassVar[tuple[tuple[str, int], ...]] = ()
    """What --minutes lowers, what costs least accuracy first: an option and the least it is lowered
    to. One that is named again is lowered further when the others did not suffice."""

    @property
    def own_protocol(self) -> tuple[str, Mapping[str, Any]] | None:
        """The core's protocol by which its authors evaluate, and what they change of its recipe.

        Such as ("l1", {"lr": 0.1}). None: the protocol for the kind of labels, as it is.
        """
        return None

    @property
    def inner_loop(self) -> tuple[str, int] | None:
        """The option that counts the inner loops of a step, and a small number of them.

        None where a step has none. Time and memory of a step must be lines in that number, up to
        what `kept_option` says and beyond: a rehearsal takes the small one and twice as many.
        """
        return None

    @property
    def labels_epochs(self) -> bool:
        """Whether `label_epochs` makes the labels, which may then be stored as a recipe."""
        return False

    @property
    def member_networks(self) -> Sequence[str]:
        """The specs of the networks that members of the method's pool have, beside the run's."""
        return ()

    @property
    def looks_at_classes(self) -> bool:
        """Whether the pool needs real images of each class, and not just of some."""
        return False

    @property
    def real_per_class(self) -> int:
        """The real images of each class that a step of the synthesis looks at, at most."""
        return 0

    def for_ipc(self, ipc: int) -> "MethodOptions":
        """Return the options, with those settled that follow from the images per class."""
        return self

    def lowered(self, name: str, value: int) -> Mapping[str, Any]:
        """Return the options that change where one of `shorter` is lowered to `value`.

        A subclass adds those that only make sense together with it.
        """
        return {name: value}

    def rehearsed(self) -> Mapping[str, Any]:
        """Return options that give a small pool and few labels, with steps as they are.

        A run is estimated by doing it so, and by scaling what that took by `work` and `volume`.
        """
        return {}

    def work(self, stage: StageName, per_epoch: int) -> float:
        """Return how much the stage "pool" or "relabel" has to do, in a unit of the method's own.

        `per_epoch` is the number of batches that an epoch on the real data has.
        """
        return 1.0

    def volume(self, stage: StageName) -> float:
        """Return how much the stage "pool" or "relabel" writes, in a unit of the method's own."""
        return 1.0


def by_stage(model: type[MethodOptions]) -> dict[str, list[str]]:
    """Return the names of a model's options under the stages that they matter to.

    A key names one stage or several with commas, in the order of a run; "all stages" comes last.
    """
    found: dict[tuple[StageName, ...], list[str]] = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        said = extra.get("stages") if isinstance(extra, dict) else None
        stages = tuple(stage for stage in STAGES if not isinstance(said, list) or stage in said)
        found.setdefault(stages, []).append(name)
    ordered = sorted(found, key=lambda key: (key == STAGES, [STAGES.index(stage) for stage in key]))
    return {", ".join(key) if key != STAGES else "all stages": found[key] for key in ordered}


def option(
    default: Any, help: str, *, stages: tuple[StageName, ...] = STAGES, **bounds: Any
) -> Any:
    """Declare one option of a method, for `MethodOptions` subclasses.

    Args:
        default: its value when neither preset nor user gives one.
        help: what it does, one sentence, shown by `ddkit methods`.
        stages: the stages it matters to. An option that leaves out "pool" does not make a cached
            pool useless when it changes. When in doubt, leave it at all stages.
        bounds: pydantic's own, such as `ge=1`.
    """
    return Field(default, description=help, json_schema_extra={"stages": list(stages)}, **bounds)
