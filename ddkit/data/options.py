"""The options that say which images are used: which set, which classes, at which size."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ddkit.flags import DataFlags, MethodFlags
from ddkit.runtime.flag import later
from ddkit.runtime.settings import Growing

COLOURS = {"white": "#ffffff", "black": "#000000"}


def _classes(value: Any) -> Any:
    """Accept "cat,dog", "10", 10, lists of names or indices, and a file of names, one a line."""
    if isinstance(value, int | str):
        text = str(value)
        value = names_in(text) if is_file(text) else text.split(",")
    if isinstance(value, list | tuple):
        return tuple(str(item).strip() for item in value)
    return value


def is_file(text: str) -> bool:
    """Return whether `--classes` names a file, not classes or their number."""
    try:
        return not text.isdecimal() and Path(text).expanduser().is_file()
    except (OSError, ValueError):  # too long, or no path at all
        return False


def names_in(path: str) -> list[str]:
    """Return the class names in a file, one a line; names may hold commas.

    Raises `ValueError` for what is no text.
    """
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{path} is not a readable text ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def _range(value: Any) -> Any:
    """Accept "0.6" and 0.6 (up to 1), "0.4:0.9" and a pair."""
    if isinstance(value, str):
        value = tuple(float(part) for part in value.split(":"))
    if isinstance(value, int | float):
        value = (value,)
    return (value[0], 1.0) if isinstance(value, tuple) and len(value) == 1 else value


class DataOptions(Growing, DataFlags, extra="forbid", frozen=True):
    """Which images are used: the name of a set, and the flags about it as they were read."""

    later: ClassVar[frozenset[str]] = later(DataFlags)

    name: str = Field(MethodFlags.data, min_length=1)
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_classes)] = None
    imbalance: Annotated[tuple[float, float] | None, BeforeValidator(_range)] = None

    @field_validator("classes")
    @classmethod
    def _are_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not all(classes) or len(set(classes)) != len(classes)):
            raise ValueError("each class is named once, and none is empty")
        return classes

    @field_validator("imbalance")
    @classmethod
    def _is_a_range(cls, imbalance: tuple[float, float] | None) -> tuple[float, float] | None:
        if imbalance is not None and not 0 < imbalance[0] <= imbalance[1] <= 1:
            raise ValueError("the range must satisfy 0 < low <= high <= 1, such as 0.4:1.0")
        return imbalance

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str | None) -> str | None:
        if background is None:
            return None
        colour = COLOURS.get(background.lower(), background.lower())
        if not re.fullmatch("#[0-9a-f]{6}", colour):
            raise ValueError("the background is white, black or a colour such as #80ff00")
        return colour

    @model_validator(mode="after")
    def _details_are_larger(self) -> "DataOptions":
        if self.detail is not None and not (self.resize and self.resize < self.detail):
            raise ValueError(
                f"detail {self.detail} needs a smaller resize, the side of the crops: "
                f"--resize 64 --detail 128 (got {self.resize})"
            )
        return self

    @property
    def base(self) -> str:
        """The name without folders, as presets spell it."""
        path = Path(self.name).expanduser()
        base = path.resolve().name if path.name in ("", "..") else path.name
        return base.lower().replace("_", "-")

    @property
    def colour(self) -> tuple[int, int, int]:
        """The background as (red, green, blue)."""
        red, green, blue = bytes.fromhex((self.background or COLOURS["white"])[1:])
        return red, green, blue

    @property
    def tag(self) -> str:
        """The short name that presets are found by, such as "cifar10" or "tiny-imagenet-64".

        Size and class count are part of it: settings of the full set don't suit a part of it.
        """
        parts = [self.base]
        if self.resize is not None:
            parts.append(str(self.resize))
        if self.classes is not None:
            parts.append(f"{class_count(self.classes)}classes")
        return "-".join(parts)


def class_count(classes: tuple[str, ...]) -> int:
    """Return how many classes `--classes` asks for: one number alone is a count, not an index."""
    return int(classes[0]) if len(classes) == 1 and classes[0].isdecimal() else len(classes)
