"""Settings that are checked: strict models, TOML files, `key=value`."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from ddkit.runtime.errors import DdkitError, unknown

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Unknown keys are refused, values never change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Growing(BaseModel):
    """Leaves out of what is stored the fields that came `later`, while they have their defaults.

    So keys of caches and bytes of artifacts stay as they were before these fields existed. Where
    they came `at_once`, one that has another value keeps all of them.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    at_once: ClassVar[bool] = False

    @model_serializer(mode="wrap")
    def _without_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        values: dict[str, Any] = dump(self)
        at_default = {name for name in self.later if getattr(self, name) == fields[name].default}
        if self.at_once and at_default < self.later:
            return values
        return {name: value for name, value in values.items() if name not in at_default}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `DdkitError` where it is missing or broken."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DdkitError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DdkitError(f"{path} is not valid TOML: {error}") from error


def validated(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Return `values` as a `model`; the first thing wrong becomes a one-line `DdkitError`."""
    for key in values:
        if key not in model.model_fields:
            raise unknown("option", key, model.model_fields, hint=where)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors()
        path, message = found[0]["loc"], found[0]["msg"].removeprefix("Value error, ")
        one_of_several = len(path) > 1 and isinstance(path[-1], str)  # under a type's name
        if one_of_several and not isinstance(_at(values, path[:-1]), Mapping):
            path = path[:-1]
            tried = [each["msg"] for each in found if each["loc"][:-1] == path]
            message = " or ".join(
                [tried[0], *(text.removeprefix("Input should be ") for text in tried[1:])]
            )
        first, key = found[0], ".".join(map(str, path))
        value = f" (got {first['input']!r})" if not isinstance(first["input"], dict) else ""
        which = f"option '{key}' of {where}" if key else f"the options of {where}"
        raise DdkitError(f"{which}: {message}{value}") from error


def _at(values: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path of keys and positions, None where there is none."""
    for key in path:
        try:
            values = values[key]
        except (LookupError, TypeError):
            return None
    return values


def parse_setting(text: str) -> tuple[str, Any]:
    """Split "key=value"; the value is read as TOML where it is TOML and as a string otherwise."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise DdkitError(f"'--set {text}' is not of the form key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return key.strip(), parsed
