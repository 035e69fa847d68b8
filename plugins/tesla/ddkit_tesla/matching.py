"""Matching training trajectories with one graph in memory: the loss and its exact gradient.

The student takes T steps θ_{i+1} = θ_i − β g_i, g_i = ∇_θ ℓ(θ_i; x_i, y_i), from the expert's θ_t;
the loss is L = ‖θ_T − θ*‖² / ‖θ_t − θ*‖², with the expert's θ* = θ_{t+M} (Eq. 1 of TESLA).

    pass 1:  θ_0 … θ_T; the graphs of the last g_i are kept, where there is room
    λ ← 2 (θ_T − θ*) / ‖θ_t − θ*‖²
    for i = T − 1 … 0:
        v = ⟨g_i, λ⟩, with the graph of g_i kept, or made again
        ∂L/∂x_i += −β ∂v/∂x_i      ∂L/∂y_i += −β ∂v/∂y_i      ∂L/∂β += −v
        exact:  λ ← λ − β ∂v/∂θ_i        paper:  λ unchanged

λ is the adjoint ∂L/∂θ_{i+1}: x_i moves every later student, and with them every later gradient.
Eq. 5 of the paper holds those constant, which freezes λ (with both 2s restored that the print
drops from its last two terms). At T = 1 the two agree.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddkit import DsaParameters, apply_dsa
from ddkit_tesla.students import Parameters, Snapshots, Students

Gradient = Literal["exact", "paper"]
NetworkFunction = Callable[[Sequence[Tensor], Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one student step sees.

    Attributes:
        rows: int64 (B,), of the images and their labels; none twice.
        augmentation: of these B images, or None. Its parameters are kept, not its graph. DSA
            treats each image apart, so a part of a batch is augmented by a part of them.
    """

    rows: Tensor
    augmentation: DsaParameters | None = None

    def parts(self, size: int) -> Iterator["Batch"]:
        """Serve the batch in parts of at most `size` images; 0 is the whole."""
        for start in range(0, len(self.rows), size or len(self.rows)):
            part = slice(start, start + (size or len(self.rows)))
            augmentation = None if self.augmentation is None else self.augmentation[part]
            yield Batch(self.rows[part], augmentation)


@dataclass(frozen=True, eq=False)
class Matched:
    """The loss of a matching and its gradients.

    Attributes:
        loss: L, 0-dim.
        images: ∂L/∂images, of their shape; 0 for images in no batch.
        labels: ∂L/∂labels, of their shape; None where the labels do not require grad.
        learning_rate: ∂L/∂β, 0-dim.
        skipped: whether the loss was above the bound; the gradients are then 0, not computed.
    """

    loss: Tensor
    images: Tensor
    labels: Tensor | None
    learning_rate: Tensor
    skipped: bool


def match(
    network: NetworkFunction,
    start: Sequence[Tensor],
    target: Sequence[Tensor],
    batches: Sequence[Batch],
    images: Tensor,
    labels: Tensor,
    learning_rate: Tensor,
    *,
    gradient: Gradient = "exact",
    micro_batch: int = 0,
    snapshots: Snapshots = Snapshots(),  # noqa: B008 - frozen
    kept_graphs: int = 0,
    skip_above: float = inf,
) -> Matched:
    """Return the loss of T student steps and its gradients, by the recursion above.

    Memory is that of one step's graph, for at most `micro_batch` images of it, of the kept graphs,
    which are whole ones, and of the snapshots.

    Args:
        network: (parameters, inputs (B, channels, H, W)) → logits (B, classes). It must treat each
            image apart where `micro_batch` is used, and draw nothing: pass 2 repeats pass 1.
        start, target: θ_t and θ_{t+M}, the parameters as tensors of equal shapes, in one order.
        batches: one for each of the T steps.
        images: (N, channels, H, W), network inputs.
        labels: int64 (N,) classes, or (N, classes) probabilities; those that require grad get it.
        learning_rate: β, 0-dim.
        gradient: "exact", or "paper" for Eq. 5.
        micro_batch: images per graph; 0 takes each batch whole.
        snapshots: how the students θ_0 … θ_{T−1} are kept for pass 2.
        kept_graphs: of the last steps of pass 1, which pass 2 need not repeat. The gradients are
            the same to the bit, however many.
        skip_above: where the loss is above it, pass 2 is left out.
    """
    steps = Steps(
        network, batches, images.detach(), labels.detach(), micro_batch, labels.requires_grad
    )
    beta = learning_rate.detach()

    def advance(student: Parameters, step: int) -> Parameters:
        return _moved(student, _total(steps.graphs(student, step)), beta)

    first_kept = len(batches) - min(kept_graphs, len(batches))
    students = Students(list(start), first_kept, advance, snapshots)
    student = students.last
    kept: list[list[_Graph]] = []
    for step in range(first_kept, len(batches)):
        kept.append(list(steps.graphs(student, step)))
        student = _moved(student, _total(kept[-1]), beta)

    def backwards() -> Iterator[Iterable[_Graph]]:
        while kept:
            yield kept.pop()
        for step, student in students.backwards():
            yield steps.graphs(student, step)

    gap = list(torch._foreach_sub(student, list(target)))
    path = list(torch._foreach_sub(list(start), list(target)))
    distance = _product(path, path)
    loss = _product(gap, gap) / distance
    skipped = skip_above < inf and float(loss) > skip_above  # a bound waits for the device
    adjoint = list(torch._foreach_mul(gap, 2 / distance))
    totals = _Slopes(
        torch.zeros_like(steps.images),
        torch.zeros_like(steps.labels) if labels.requires_grad else None,
        torch.zeros_like(distance),
    )
    for graphs in () if skipped else backwards():
        change = _pulled_back(graphs, adjoint, totals, exact=gradient == "exact")
        if change is not None:
            adjoint = _moved(adjoint, change, beta)
    return Matched(
        loss=loss,
        images=totals.images.mul_(-beta),
        labels=None if totals.labels is None else totals.labels.mul_(-beta),
        learning_rate=-totals.learning_rate,
        skipped=skipped,
    )


@dataclass(eq=False)
class _Slopes:
    """The sums over steps of ∂v/∂images, ∂v/∂labels and v."""

    images: Tensor
    labels: Tensor | None
    learning_rate: Tensor


@dataclass(frozen=True, eq=False)
class _Graph:
    """The graph of one part's share of g_i.

    Attributes:
        rows: of the images and labels of the part.
        through: inputs and, where they are learned, labels of the part, which slopes depend on.
        student: θ_i, as leaves.
        slopes: the share, with its graph.
    """

    rows: Tensor
    through: list[Tensor]
    student: Parameters
    slopes: Parameters


@dataclass(frozen=True, eq=False)
class Steps:
    """What the steps of one matching share."""

    network: NetworkFunction
    batches: Sequence[Batch]
    images: Tensor
    labels: Tensor
    micro_batch: int
    learned: bool

    def graphs(self, student: Parameters, step: int) -> Iterator[_Graph]:
        """Make the graphs of g_i at θ_i, one for each part of the batch, when they are asked for.

        Both passes call this, and so have the same g_i: with a graph torch takes other operations,
        which round otherwise.
        """
        batch = self.batches[step]
        student = [tensor.detach().requires_grad_() for tensor in student]
        for part in batch.parts(self.micro_batch):
            yield self._graph(student, part, len(batch.rows))

    def _graph(self, student: Parameters, part: Batch, count: int) -> _Graph:
        inputs, targets = self.images[part.rows].requires_grad_(), self.labels[part.rows]
        through = [inputs, targets.requires_grad_()] if self.learned else [inputs]
        seen = inputs if part.augmentation is None else apply_dsa(inputs, part.augmentation)
        loss = F.cross_entropy(self.network(student, seen), targets, reduction="sum") / count
        slopes = list(torch.autograd.grad(loss, student, create_graph=True))
        return _Graph(part.rows, through, student, slopes)


def _total(graphs: Iterable[_Graph]) -> Parameters:
    """Return g_i, apart from its graphs; one at a time is there where they are made meanwhile."""
    total: Parameters | None = None
    for graph in graphs:
        slopes = [slope.detach() for slope in graph.slopes]
        del graph
        total = slopes if total is None else list(torch._foreach_add(total, slopes))
    assert total is not None  # noqa: S101 - a batch has images
    return total


def _pulled_back(
    graphs: Iterable[_Graph], adjoint: Parameters, totals: _Slopes, *, exact: bool
) -> Parameters | None:
    """Add a step's slopes of v = ⟨g_i, λ⟩ to `totals`; return ∂v/∂θ_i where it is `exact`.

    g_i is a mean over images, so v is a sum over parts, each with its own graph.
    """
    change: Parameters | None = None
    for part in graphs:
        through = part.through + part.student * exact
        derived = list(torch.autograd.grad(part.slopes, through, adjoint, materialize_grads=True))
        totals.images[part.rows] += derived.pop(0)  # no row twice: nothing is added atomically
        if totals.labels is not None:
            totals.labels[part.rows] += derived.pop(0)
        totals.learning_rate += _product([slope.detach() for slope in part.slopes], adjoint)
        if exact:
            change = derived if change is None else list(torch._foreach_add(change, derived))
    return change


def _moved(values: Parameters, direction: Parameters, rate: Tensor) -> Parameters:
    """Return values − rate · direction."""
    return list(torch._foreach_sub(values, torch._foreach_mul(direction, rate)))


def _product(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product over all parameters, 0-dim."""
    dots = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(left, right, strict=True)]
    return torch.stack(dots).sum()
