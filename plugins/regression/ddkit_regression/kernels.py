"""What predicts real images from the set: one class for each kernel."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddkit import Run, Shard, last_linear_input, with_gradients
from ddkit_regression.implicit import Exact, Outer, Solver, gradients
from ddkit_regression.inner_steps import Steps
from ddkit_regression.living import Living
from ddkit_regression.options import RegressionOptions
from ddkit_regression.random_features import drawn, random_kernels
from ddkit_regression.ridge import predicted, relative
from ddkit_regression.tangent_fc import tangent_kernel


@dataclass(frozen=True)
class Step:
    """What a step works with.

    Attributes:
        shard, number: which step of which set.
        leaves: what is optimised.
        images: (n, channels, H, W), of the set.
        targets: (n, classes) float32, of the set.
        real: batches of real images, B in all.
    """

    shard: Shard
    number: int
    leaves: Mapping[str, Tensor]
    images: Tensor
    targets: Tensor
    real: Sequence[Tensor]


class Kernel(ABC):
    """Gives a step its loss, and keeps what lives across the steps of a shard."""

    def __init__(self, run: Run, options: RegressionOptions):
        self.run = run
        self.options = options

    @abstractmethod
    def loss(self, step: Step, outer: Outer) -> Tensor:
        """Return the loss of predictions that the set makes of a step's real images, 0-dim."""

    def begin(self) -> None:  # noqa: B027 - some keep nothing
        """Start anew: a shard knows nothing of the one before."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - as `begin`
        """Put back what `state_dict` returned."""

    def doubled(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return images and targets, with mirror images where these are asked for."""
        images, targets = step.images, step.targets
        if not (self.options.flip and self.run.train.mirror):
            return images, targets
        return torch.cat([images, images.flip(3)]), torch.cat([targets, targets])


class Dual(Kernel):
    """Ridge regression with a kernel that is differentiable in the images."""

    def loss(self, step: Step, outer: Outer) -> Tensor:
        images, targets = self.doubled(step)
        cross, own = self.kernels(step, images)
        return outer(predicted(cross, own, targets, relative(self.options.ridge, own)))

    @abstractmethod
    def kernels(self, step: Step, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return K_ts (B, n) and K_ss (n, n), float64."""


class Features(Dual):
    """FRePo: features of a network that is trained on the set."""

    def __init__(self, run: Run, options: RegressionOptions):
        super().__init__(run, options)
        self.living = Living(run, options)

    def begin(self) -> None:
        self.living.begin()

    def kernels(self, step: Step, images: Tensor) -> tuple[Tensor, Tensor]:
        network = self.living.network(step.shard, step.number, step.images, step.targets)
        own = last_linear_input(network, images).double()  # rounding is near the ridge
        with torch.no_grad():
            theirs = torch.cat([last_linear_input(network, part) for part in step.real]).double()
        return theirs @ own.T, own @ own.T

    def state_dict(self) -> dict[str, Tensor]:
        return self.living.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.living.load_state_dict(state)


class TangentFc(Dual):
    """KIP: infinitely wide networks."""

    def kernels(self, step: Step, images: Tensor) -> tuple[Tensor, Tensor]:
        own = images.flatten(1).double()
        theirs = torch.cat([part.flatten(1) for part in step.real]).double()
        depth = self.options.depth
        return tangent_kernel(theirs, own, depth), tangent_kernel(own, own, depth)


class RandomFeatures(Dual):
    """RFAD: random networks, new ones in each step."""

    def __init__(self, run: Run, options: RegressionOptions):
        super().__init__(run, options)
        self._skeleton = run.network(run.generator("skeleton")).eval().requires_grad_(False)

    def kernels(self, step: Step, images: Tensor) -> tuple[Tensor, Tensor]:
        place = (step.shard.index, step.number)
        networks = [
            drawn(
                self._skeleton,
                self.run.generator("random network", *place, number, device=self.run.device),
            )
            for number in range(self.options.networks)
        ]
        return random_kernels(networks, images, step.real)


class Body(Kernel):
    """RCIG: features and the tangent kernel of the layers below, of a network in training."""

    def __init__(self, run: Run, options: RegressionOptions):
        super().__init__(run, options)
        self.living = Living(run, options)
        exact = options.inner == "exact"
        self.solver: Solver = Exact() if exact else Steps(options.inner_steps)

    def begin(self) -> None:
        self.living.begin()
        self.solver.begin()

    def loss(self, step: Step, outer: Outer) -> Tensor:
        network = self.living.network(step.shard, step.number, step.images, step.targets)
        leaves = [leaf for leaf in step.leaves.values() if leaf.requires_grad]
        found = gradients(
            network,
            self.doubled(step),
            leaves,
            step.real,
            outer,
            self.options.ridge * len(step.images),
            self.solver,
        )
        whole = found.clipped() if self.solver.clips else found.whole()
        return with_gradients(found.loss, dict(zip(leaves, whole, strict=True)))

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{k}.{n}": t for k, part in self._parts for n, t in part.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, part in self._parts:
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            part.load_state_dict(own)

    @property
    def _parts(self) -> tuple[tuple[str, Living | Solver], ...]:
        return ("living", self.living), ("solver", self.solver)


KERNELS: dict[str, Callable[[Run, RegressionOptions], Kernel]] = {
    "features": Features,
    "tangent-fc": TangentFc,
    "random": RandomFeatures,
    "body": Body,
}
