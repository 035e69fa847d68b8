"""What is said of a flag, once: `ddkit.flags` lists them."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any, NamedTuple, get_args, get_origin


@dataclass(eq=False)
class Flag:
    """What is said of a flag beside its type and its default.

    Attributes:
        words: what it is for.
        default: in words, where other things than the default's value decide.
        metavar: what stands for its value in the help.
        short: a letter for it, such as "-d".
        option: its name on the command line, where that is not the field's.
        later: whether it came when runs had been stored: at its default it is left out of what is
            stored, and keys and bytes stay as they were.
        ge, gt, le, lt: bounds, which pydantic checks.
    """

    words: str
    default: str = ""
    metavar: str | None = None
    short: str = ""
    option: str = ""
    later: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    __is_annotated_types_grouped_metadata__ = True

    def __iter__(self) -> Iterator[Any]:
        """Serve the bounds as pydantic takes them."""
        import pydantic

        yield from pydantic.Field(ge=self.ge, gt=self.gt, le=self.le, lt=self.lt).metadata


class Described(NamedTuple):
    """A flag with its name, plain type and the value of its default."""

    name: str
    flag: Flag
    kind: Any
    default: Any

    @property
    def option(self) -> str:
        """Its name on the command line, such as "--pool-from"."""
        return self.flag.option or f"--{self.name.replace('_', '-')}"

    @property
    def help(self) -> str:
        """What it is for, and what holds where it is not said."""
        own = isinstance(self.default, str | int) and not isinstance(self.default, bool)
        default = self.flag.default or (str(self.default) if own else "")
        return f"{self.flag.words}; default: {default}" if default else self.flag.words


def described(*flags: Any) -> dict[str, Described]:
    """Return the flags of some of these classes by their names, arguments by position first."""
    found: dict[str, Described] = {}
    for each in sorted((each for one in flags for each in fields(one)), key=_is_keyword):
        hint: Any = each.type
        if get_origin(hint) is Annotated:
            kind, flag = get_args(hint)
            found[each.name] = Described(each.name, flag, kind, each.default)
    return found


def later(flags: type) -> frozenset[str]:
    """Return the names of the flags that came later (see `Flag.later`)."""
    return frozenset(name for name, flag in described(flags).items() if flag.flag.later)


def _is_keyword(field: Field[Any]) -> bool:
    return field.kw_only is True
