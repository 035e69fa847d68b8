"""Networks that are trained while images are distilled: state of an objective, not a pool on disk.

IDM matches in networks of all ages; FRePo and RCIG regress on such features.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit.run import Run
from ddkit.runtime.moving import sent
from ddkit.runtime.seeds import derive
from ddkit.runtime.tensors import optimiser_tensors
from ddkit.training.loop import seeded
from ddkit.training.recipe import Recipe

FADING = 0.5  # what a figure keeps of what it was, when it is measured again


class LivePool:
    """Some networks in training, the oldest first, each with its optimiser, age and figure.

    They rest on the host, and one at a time is on the run's device, while it is used. Nothing waits
    for a device but a checkpoint.
    """

    def __init__(self, run: Run, recipe: Recipe, most: int, spec: str | None = None):
        """Hold none at first.

        Args:
            recipe: the optimiser of each, its learning rate constant; epochs do not count here.
            most: how many are held; where one more is appended, the first goes.
            spec: what network all of them are; None: the run's.
        """
        self.run = run
        self.recipe = recipe
        self.most = most
        self.spec = spec
        self._all: list[_Living] = []
        self._present: _Living | None = None  # whose weights the module has

    def __len__(self) -> int:
        return len(self._all)

    @property
    def ages(self) -> list[int]:
        """The steps that each was trained for, and the age that it came with."""
        return [living.age for living in self._all]

    def figure(self, index: int) -> Tensor:
        """Return what `train` measured of a network, 0-dim on the device; 0 where it did not."""
        return self._all[index].figure

    def clear(self) -> None:
        """Let go of all of them."""
        self._all, self._present = [], None

    def append(self, network: nn.Module, age: int = 0) -> None:
        """Add a network, whose weights are the pool's now; the first goes where `most` are held.

        One that comes with an age is counted as if it had been trained for so many steps.
        """
        self._all = [*self._all, self._living(network, age)][-self.most :]

    def replace(self, index: int, network: nn.Module) -> None:
        """Put a network in another one's place."""
        self._all[index] = self._living(network)

    def draw(self, generator: torch.Generator, count: int = 1) -> list[int]:
        """Return `count` different indices, or all there are, drawn evenly."""
        return torch.randperm(len(self), generator=generator)[:count].tolist()

    def network(self, index: int) -> nn.Module:
        """Return a network, on the device; its module is another's once that is asked for."""
        living = self._all[index]
        if self._present is not living:
            self._leave()
            self._enter(living)
        return self._module

    def train(
        self,
        index: int,
        batches: Iterable[tuple[Tensor, Tensor]],
        seed: int,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        measure: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        """Take one step of a network on each of the batches, and leave it in train mode.

        Args:
            batches: (inputs, targets) on the device.
            seed: of what the network itself draws, such as dropout.
            loss: (logits, targets) → 0-dim tensor.
            measure: (logits, targets) → 0-dim tensor; the mean over the batches enters the figure
                by half, the first time as a whole.
        """
        network = self.network(index).requires_grad_(True).train()
        living, optimiser = self._all[index], self._optimiser
        found, first = [], living.age
        for inputs, targets in batches:
            optimiser.zero_grad()
            with seeded(derive(seed, "live step", living.age), self.run.device):
                logits = network(inputs)
            loss(logits, targets).backward()
            optimiser.step()
            living.age += 1
            if measure is not None:
                found.append(measure(logits.detach(), targets))
        optimiser.zero_grad()
        if found:
            mean = torch.stack(found).mean()
            living.figure = torch.lerp(mean, living.figure, FADING) if first else mean

    def state_dict(self) -> dict[str, Tensor]:
        """Return all of it as named tensors on the host; nothing where it holds none."""
        if not self._all:
            return {}
        self._leave()
        if self.run.device.type == "cuda":
            torch.cuda.synchronize(self.run.device)  # copies to the host may be under way
        state = {
            "ages": torch.tensor(self.ages),
            "figures": torch.stack([living.figure for living in self._all]),
        }
        for number, living in enumerate(self._all):
            state |= {f"{number}.network.{name}": each for name, each in living.weights.items()}
            state |= {f"{number}.optimiser.{name}": each for name, each in living.moments.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        self.clear()
        for number, age in enumerate(state["ages"].tolist() if state else ()):
            weights, moments = (
                {name: each.clone() for name, each in _under(state, f"{number}.{what}.").items()}
                for what in ("network", "optimiser")
            )
            figure = state["figures"][number].to(self.run.device)
            self._all.append(_Living(weights, moments, figure, age))

    @cached_property
    def _module(self) -> nn.Module:
        """The one module, on the device, that all weights pass through."""
        return self.run.network(self.run.generator("skeleton"), self.spec)

    @cached_property
    def _optimiser(self) -> torch.optim.Optimizer:
        return self.recipe.build(self._module.parameters())

    def _living(self, network: nn.Module, age: int = 0) -> "_Living":
        self._leave()
        weights = self._away(network.state_dict())
        return _Living(weights, {}, torch.zeros((), device=self.run.device), age)

    def _enter(self, living: "_Living") -> None:
        """Give the module and its optimiser what is of one network; on a CPU nothing is copied."""
        device = self.run.device
        for name, tensor in self._module.state_dict(keep_vars=True).items():
            own = living.weights[name].detach()
            if device.type == "cpu":
                tensor.data = own
            else:
                tensor.data.copy_(sent(own, device))
        self._optimiser.state.clear()
        parameters = list(self._module.parameters())
        for key, tensor in living.moments.items():
            index, name = key.split(".")
            self._optimiser.state[parameters[int(index)]][name] = sent(tensor, device)
        self._present = living

    def _leave(self) -> None:
        """Keep what became of the network in the module, without waiting."""
        if self._present is not None:
            self._present.weights = self._away(self._module.state_dict())
            self._present.moments = self._away(optimiser_tensors(self._optimiser))
        self._present = None

    def _away(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors on the host, copied there from another device."""
        return {k: v.detach().to("cpu", non_blocking=True) for k, v in tensors.items()}


@dataclass(eq=False)
class _Living:
    """A network in training, at rest.

    Attributes:
        weights: its `state_dict`, on the host.
        moments: its optimiser's state, as `optimiser_tensors` names it, on the host.
        figure, age: see `LivePool`.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    figure: Tensor
    age: int = 0


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
