"""Where the network of a step comes from: random ones that are trained on the images (DC, DM)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ddkit import DdkitError, Diverged, Pool, Run, Shard, derive, sent
from ddkit_matching.networks import train_on_images
from ddkit_matching.options import MatchingOptions
from ddkit_matching.pool import trained


@dataclass(frozen=True)
class Chosen:
    """The network of a step, in any mode, with its weights as they are trained.

    Attributes:
        network: what images are matched in.
        accuracy: its running training accuracy in percent, 0-dim on the device.
        trained: a trained network beside it, in eval mode.
    """

    network: nn.Module
    accuracy: Tensor | None = None
    trained: nn.Module | None = None


class Source(ABC):
    """Gives each step its network, and keeps what lives across the steps of a shard."""

    def __init__(self, run: Run, options: MatchingOptions, pool: Pool):
        self.run = run
        self.options = options
        self.pool = pool

    @abstractmethod
    def begin(self, shard: Shard) -> None:
        """Start anew: a shard knows nothing of the one before."""

    @abstractmethod
    def of(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        """Return the network of a step; `images` are what DC's is trained on before."""

    def after(self, shard: Shard, step: int) -> None:  # noqa: B027 - most have nothing to do
        """Do what follows the gradient of the images."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - optional
        """Put back what `state_dict` returned."""

    def first(self, shard: Shard, step: int) -> nn.Module:
        """Return a random network of a step's own, or with networks=trained one of the pool."""
        run = self.run
        network = run.network(run.generator("network", shard.index, step))
        if self.options.networks == "trained":
            draw = run.generator("trained network", shard.index, step)
            network.load_state_dict(trained(self.pool, run, draw).state_dict())
        return network


class Fresh(Source):
    """A network that serves `outer_loop` steps, and is trained on the images in between."""

    _network: nn.Module | None = None

    def begin(self, shard: Shard) -> None:
        self._network = None

    def of(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        if self._network is None or step % self.options.outer_loop == 0:
            self._network = self.first(shard, step)
        else:
            self._train(self._network, shard, images, step)
        return Chosen(self._network)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the network that serves several steps."""
        if self.options.outer_loop == 1 or self._network is None:
            return {}
        return self._network.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state:
            self._network = self.run.network(self.run.generator("skeleton"))
            self._network.load_state_dict(state)

    def _train(self, network: nn.Module, shard: Shard, images: Tensor, step: int) -> None:
        """Train the network on the images as they are now."""
        network.requires_grad_(True)
        seed = derive(self.run.config.seed, "network training", shard.index, step)
        try:
            train_on_images(
                network,
                images,
                sent(shard.classes, images.device),
                self.options,
                seed,
                flip=self.run.train.mirror,
            )
        except Diverged as error:
            raise DdkitError(
                f"the network that images are matched in diverged before step {step}: lower its "
                f"learning rate, which is {self.options.lr_network:g} (--set lr_network=…)"
            ) from error
