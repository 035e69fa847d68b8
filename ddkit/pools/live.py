"""Networks that are trained while images are distilled: state of an objective, not a pool on disk.

IDM matches in networks of all ages; FRePo and RCIG regress on such features.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddkit.run import Run
from ddkit.runtime.moving import sent
from ddkit.runtime.seeds import derive
from ddkit.runtime.tensors import optimiser_tensors, restore_optimiser
from ddkit.training.loop import seeded
from ddkit.training.recipe import Recipe

FADING = 0.5  # what a figure keeps of what it was, when it is measured again


class LivePool:
    """Some networks in training, the oldest first, each with its optimiser, age and figure.

    They rest on the host, and one at a time is on the run's device, while it is used. Nothing waits
    for the device but a checkpoint.
    """

    def __init__(self, run: Run, recipe: Recipe, most: int):
        """Hold none at first.

        Args:
            recipe: the optimiser of each, its learning rate constant; epochs do not count here.
            most: how many are held; where one more is appended, the first goes.
        """
        self.run = run
        self.recipe = recipe
        self.most = most
        self._all: list[_Living] = []
        self._present: _Living | None = None  # the one on the device

    def __len__(self) -> int:
        return len(self._all)

    @property
    def ages(self) -> list[int]:
        """The steps that each was trained for."""
        return [living.age for living in self._all]

    def figure(self, index: int) -> Tensor:
        """Return what `train` measured of a network, 0-dim on the device; 0 where it did not."""
        return self._all[index].figure

    def clear(self) -> None:
        """Let go of all of them."""
        self._all, self._present = [], None

    def append(self, network: nn.Module) -> None:
        """Add a network, which is on the device; the first one goes where `most` are held."""
        self._all = [*self._all, self._living(network)][-self.most :]

    def replace(self, index: int, network: nn.Module) -> None:
        """Put a network, which is on the device, in another one's place."""
        self._all[index] = self._living(network)

    def draw(self, generator: torch.Generator, count: int = 1) -> list[int]:
        """Return `count` different indices, or all there are, drawn evenly."""
        return torch.randperm(len(self), generator=generator)[:count].tolist()

    def network(self, index: int) -> nn.Module:
        """Return a network, on the device until another one is asked for, in the mode it is in."""
        living = self._all[index]
        if self._present is not living:
            self._leave()
            living.move(lambda tensor: sent(tensor, self.run.device))
            self._present = living
        return living.network

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
        living = self._all[index]
        found, first = [], living.age
        for inputs, targets in batches:
            living.optimiser.zero_grad()
            with seeded(derive(seed, "live step", living.age), self.run.device):
                logits = network(inputs)
            loss(logits, targets).backward()
            living.optimiser.step()
            living.age += 1
            if measure is not None:
                found.append(measure(logits.detach(), targets))
        living.optimiser.zero_grad()
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
            state |= {f"{number}.network.{k}": v for k, v in living.network.state_dict().items()}
            tensors = optimiser_tensors(living.optimiser)
            state |= {f"{number}.optimiser.{name}": tensor for name, tensor in tensors.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        self.clear()
        for number, age in enumerate(state["ages"].tolist() if state else ()):
            network = self.run.network(self.run.generator("skeleton"))
            network.load_state_dict(_under(state, f"{number}.network."))
            self.append(network)
            living = self._all[-1]
            restore_optimiser(living.optimiser, _under(state, f"{number}.optimiser."))
            living.age, living.figure = age, state["figures"][number].to(self.run.device)

    def _living(self, network: nn.Module) -> "_Living":
        """Return a network with what belongs to it, as the one on the device."""
        self._leave()
        optimiser = self.recipe.build(network.parameters())
        self._present = _Living(network, optimiser, torch.zeros((), device=self.run.device))
        return self._present

    def _leave(self) -> None:
        """Take the network on the device to the host, without waiting."""
        if self._present is not None and self.run.device.type != "cpu":
            self._present.move(lambda tensor: tensor.to("cpu", non_blocking=True))
        self._present = None


@dataclass(eq=False)
class _Living:
    """A network in training."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    figure: Tensor
    age: int = 0

    def move(self, way: Callable[[Tensor], Tensor]) -> None:
        """Move weights, buffers and the optimiser's state; the optimiser keeps its parameters."""
        self.network._apply(way)
        for state in self.optimiser.state.values():
            state.update({name: way(tensor) for name, tensor in state.items()})


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
