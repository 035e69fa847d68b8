"""Options arrive as text; the annotations of the factory they are for say what they mean."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ddkit.runtime.errors import DdkitError, unknown

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MEANING = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "none",
}


def convert(factory: Callable[..., Any], texts: Mapping[str, str], title: str) -> dict[str, Any]:
    """Return `texts` as the types that `factory(classes, shape, **options)` announces.

    Types: int, float, bool, str, None, Literal, and unions of them. An option without annotation
    takes the type of its default, or stays text. A factory with `**options` accepts every name.

    Raises `DdkitError` for an unknown option (with the nearest match), a text that is not of the
    option's type, an option that is missing, and a factory without `classes` and `shape`.
    """
    signature = _signature(factory)
    parameters = list(signature.parameters.values())
    options = {
        p.name: p for p in parameters[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    extra = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    values = {}
    for name, text in texts.items():
        parameter = options.get(name, extra)
        if parameter is None:
            raise unknown("option", name, options, f"of network '{title}'")
        values[name] = _value(text, _type(parameter), name, title)
    try:
        signature.bind(0, (1, 1, 1), **values)
    except TypeError as error:
        raise DdkitError(
            f"network '{title}' takes {signature}, which cannot be called with "
            f"(classes, shape{''.join(f', {name}' for name in values)}): {error}"
        ) from error
    return values


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that only a type checker can resolve, perhaps of no option
        return inspect.signature(factory)


def _type(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return type(parameter.default) if type(parameter.default) in MEANING else str


def _value(text: str, kind: Any, name: str, title: str) -> Any:
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        if text not in choices:
            raise unknown(name, text, choices, f"of network '{title}'")
        return choices[text]
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if not all(kind in MEANING for kind in kinds):
        raise DdkitError(
            f"network '{title}': option '{name}' is of type {kind}, which cannot be written here; "
            "use int, float, bool, str or Literal"
        )
    for candidate in sorted(kinds, key=lambda kind: kind is str):  # a str takes any text: last
        try:
            return _scalar(text, candidate)
        except (ValueError, KeyError):
            continue
    meaning = " or ".join(MEANING[kind] for kind in kinds)
    raise DdkitError(f"network '{title}': option {name}={text} is not {meaning}")


def _scalar(text: str, kind: type) -> Any:
    if kind is bool:
        return TRUTH[text.lower()]
    if kind is NoneType:
        return {"none": None}[text.lower()]
    return kind(text)
