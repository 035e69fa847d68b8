"""Where our own code is when something happens on the device: file, line and function."""

import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
STANDARD = sysconfig.get_paths()["stdlib"]
DEVICE = ("places", "made_up", "tensors", "costs", "runtime")


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        what: the operation, and what about it.
        where: file, line and function of ours; where autograd goes back through an operation, of
            that operation.
        within: the functions of ours that are running, outermost first.
    """

    what: str
    where: str
    within: tuple[str, ...]


class Places:
    """Names places, and remembers where each node of autograd's graph was made.

    A backward pass runs in C++, from one line of ours. What it does there is the doing of a line
    in the forward pass: nodes are numbered as they are made, just before their operation is done.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, str] = {}

    def remember(self) -> None:
        """Note the present place as that of the node that autograd has just made, if it has."""
        number = torch.autograd._get_sequence_nr() - 1
        if number not in self._nodes:
            self._nodes[number] = self.event("").where

    def event(self, what: str) -> Event:
        """Return what happens now, with its place."""
        where, within, in_backward = "", [], False
        frame: Any = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            file = _ours(code.co_filename)
            if file:
                where = where or self._named(file, frame, in_backward)
                within.append(code.co_qualname)
            elif code.co_name == "_engine_run_backward":
                in_backward = True
            frame = frame.f_back
        return Event(what, where or "no line of ours", tuple(reversed(within)))

    def _named(self, file: str, frame: Any, in_backward: bool) -> str:
        node = torch._C._current_autograd_node() if in_backward else None
        made = self._nodes.get(node._sequence_nr()) if node is not None else None
        if made:
            return made if made.startswith("backward") else f"backward of {made}"
        return f"{file}:{frame.f_lineno} in {frame.f_code.co_qualname}"


@cache
def _ours(file: str) -> str | None:
    """Return how a file of ours is named, as in ddkit/run.py; None for the device's and others'."""
    before, _, name = file.rpartition("site-packages/")
    if before:
        return name if name.startswith("ddkit") else None
    path = Path(file)
    device = path.parent == HERE and path.stem in DEVICE
    return None if device or file.startswith((STANDARD, "<")) else path.name
