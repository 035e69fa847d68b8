"""Leaves: tensors that are optimised, whole or only in the rows that a step drew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from types import EllipsisType

import torch
from torch import Tensor

from ddkit.runtime.tensors import optimiser_tensors, restore_optimiser

OptimiserFactory = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass
class Leaf:
    """A tensor that is optimised, with all that its update needs.

    Attributes:
        value: the initial value. Rows are images where the objective draws rows of it.
        optimiser: builds the optimiser of this leaf alone.
        schedule: the factor on the learning rate at a fraction 0 ≤ t < 1 of all steps.
        constraint: changes the value in place after each step, such as clipping to valid pixels.
        limit: a magnitude that no value reaches unless it runs away; the run is then stopped.
        average: d of a moving average, e ← d·e + (1 − d)·v after each step, which is the result in
            the value's place; 0 has none. Where rows are drawn, theirs alone move.
        debias: whether e starts from 0 and is divided by 1 − dᵏ after k steps (of its row) instead
            of starting from v.
    """

    value: Tensor
    optimiser: OptimiserFactory
    schedule: Callable[[float], float] | None = None
    constraint: Callable[[Tensor], None] | None = None
    limit: float = inf
    average: float = 0.0
    debias: bool = False


class LeafState:
    """A leaf on its way: its value, its optimiser's state, its learning rate.

    Where a step draws rows, value and state stay where the leaf was made (the host, say) and only
    the drawn rows travel to the device: memory follows the batch, not the set.
    """

    _parameter: Tensor  # what the present step differentiates …
    _optimiser: torch.optim.Optimizer  # … and what moves it

    def __init__(self, leaf: Leaf, device: torch.device):
        self.leaf = leaf
        self.device = device
        self.value = leaf.value.detach().clone()
        self._whole = False  # whether the parameter is `value` itself, kept from step to step
        self._rows: Tensor | None = None
        self._row_state: dict[str, Tensor] = {}  # optimiser state of a leaf drawn by rows
        self._average: dict[str, Tensor] = {}  # beside the value: e and, to debias, each row's k
        if leaf.average:
            self._average["average"] = self.value * (not leaf.debias)
        if leaf.average and leaf.debias:
            each_row = (*self.value.shape[:1], *[1] * (self.value.dim() - 1))
            self._average["averaged"] = torch.zeros(each_row, dtype=torch.int64)

    @property
    def result(self) -> Tensor:
        """What the leaf has come to, apart from any graph: its average, or else its value."""
        value = self.value.detach()
        if not self._average:
            return value
        average = self._average["average"]
        if not self.leaf.debias:
            return average
        steps = self._average["averaged"]
        weight = (1 - self.leaf.average ** steps.double()).to(value.dtype)
        return torch.where(steps > 0, average / weight, value)

    def tensor(self, rows: Tensor | None) -> Tensor:
        """Return what the loss differentiates: the leaf on the device, or these rows of it."""
        if rows is None and self._rows is None and not self._row_state:
            if not self._whole:
                self.value = self.value.to(self.device)
                self._average = {k: each.to(self.device) for k, each in self._average.items()}
                self._parameter = self.value.requires_grad_()
                self._optimiser = self.leaf.optimiser([self._parameter])
                self._whole = True
            self._parameter.grad = None
        else:
            if self._whole:
                self._leave_whole()
            everything = torch.arange(len(self.value))
            self._rows = (everything if rows is None else rows).to(self.value.device)
            self._parameter = (
                self.value[self._rows].to(self.device, non_blocking=True).requires_grad_()
            )
            self._optimiser = self.leaf.optimiser([self._parameter])
            self._load_rows(self._rows)
        return self._parameter

    def update(self, progress: float) -> None:
        """Take one optimiser step at a fraction 0 ≤ progress < 1 of all steps."""
        if self._parameter.grad is None:
            return  # the loss did not use this leaf in this step
        if self.leaf.schedule is not None:
            factor = self.leaf.schedule(progress)
            for group in self._optimiser.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        self._optimiser.step()
        if self.leaf.constraint is not None:
            with torch.no_grad():
                self.leaf.constraint(self._parameter)
        if self._rows is not None:
            self._store_rows(self._rows)
        if self._average:
            self._follow(... if self._rows is None else self._rows)

    def is_sound(self) -> Tensor:
        """Return whether all values are finite and within the leaf's limit, 0-dim."""
        value = self.value.detach().abs()
        return (value.isfinite() & (value <= self.leaf.limit)).all()

    def state_dict(self) -> dict[str, Tensor]:
        """Return value and optimiser state, for a checkpoint."""
        state = {"value": self.value.detach()}
        state |= self._average
        state |= {f"rows.{name}": tensor for name, tensor in self._row_state.items()}
        if self._whole:
            tensors = optimiser_tensors(self._optimiser)
            state |= {f"optimiser.{name}": tensor for name, tensor in tensors.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` returned; the leaf must be fresh."""
        self.value = state["value"].clone()
        self._average = {name: state[name].clone() for name in self._average}
        self._row_state = _with_prefix(state, "rows.")
        optimiser = _with_prefix(state, "optimiser.")
        if optimiser:
            self.tensor(None)
            restore_optimiser(self._optimiser, optimiser)

    def _follow(self, rows: Tensor | EllipsisType) -> None:
        """Let the average of these rows, or of all, follow the value."""
        rate, average = self.leaf.average, self._average["average"]
        value = self.value.detach()[rows]
        average[rows] = average[rows].mul_(rate).add_(value, alpha=1 - rate)
        if self.leaf.debias:
            self._average["averaged"][rows] += 1

    def _leave_whole(self) -> None:
        """Go from steps on the whole leaf to steps on rows of it, with the optimiser's state."""
        tensors = optimiser_tensors(self._optimiser)
        self._row_state = {name.removeprefix("0."): tensor for name, tensor in tensors.items()}
        self.value = self.value.detach()
        self._whole = False

    def _load_rows(self, rows: Tensor) -> None:
        """Give the fresh optimiser of the drawn rows their share of the stored state."""
        if self._row_state:
            drawn = {
                f"0.{name}": state[rows].to(self.device, non_blocking=True)
                if self._per_row(state)
                else state
                for name, state in self._row_state.items()
            }
            restore_optimiser(self._optimiser, drawn)

    def _store_rows(self, rows: Tensor) -> None:
        """Write the drawn rows and their optimiser state back to where the leaf lives."""
        self.value[rows] = self._parameter.detach().to(self.value.device)
        for key, tensor in optimiser_tensors(self._optimiser).items():
            name = key.removeprefix("0.")
            if tensor.shape != self._parameter.shape:  # one for all rows, such as a step count
                self._row_state[name] = tensor.clone()
                continue
            state = self._row_state.setdefault(name, torch.zeros_like(self.value))
            state[rows] = tensor.to(self.value.device)

    def _per_row(self, tensor: Tensor) -> bool:
        return tensor.shape == self.value.shape


def _with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor.clone()
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
