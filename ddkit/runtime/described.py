"""Options as people read them: for `ddkit methods` and the documentation."""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


def describe(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, meaning) of each field of a model, for people to read."""
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.default is PydanticUndefined else repr(field.default)
        rows.append((name, _kind(field.annotation), default, field.description or ""))
    return rows


def _kind(annotation: Any) -> str:
    """Return a type as people read it: its name, or the choices there are."""
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_kind, get_args(annotation)))
    plain = isinstance(annotation, type) and not get_args(annotation)
    return "None" if annotation is NoneType else annotation.__name__ if plain else str(annotation)
