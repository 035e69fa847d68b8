"""Functions that take flags: the pages show them as they are in a program."""

import inspect
from pydoc import locate
from typing import Any

from griffe import Extension, Function, Parameter, ParameterKind, Parameters


class Flags(Extension):
    """Gives functions under `takes` the signature and documentation that it gives them."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        if func.docstring is None or not any(
            each.callable_path.endswith(".takes") for each in func.decorators
        ):
            return
        found: Any = locate(func.path)
        func.docstring.value = inspect.getdoc(found) or ""
        func.parameters = Parameters(
            *(
                Parameter(
                    each.name,
                    annotation=inspect.formatannotation(each.annotation),
                    kind=ParameterKind(each.kind.description),
                    default=repr(each.default),
                )
                for each in inspect.signature(found).parameters.values()
            )
        )
