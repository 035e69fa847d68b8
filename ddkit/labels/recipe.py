"""Labels that are not stored: members of a pool make them while a network is trained."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ddkit.data.augmentation.views import Views
from ddkit.data.space import InputSpace
from ddkit.labels.drawn import DrawnViews
from ddkit.labels.epochs import ReplayedLabels
from ddkit.labels.kinds import Images
from ddkit.runtime.cache import cache_folder, stable_hash
from ddkit.runtime.errors import DdkitError

if TYPE_CHECKING:
    from ddkit.pools.pool import Pool

Average = Literal["logits", "probabilities"]
BATCH = 256  # images that are labelled at once


@dataclass(frozen=True)
class Ensemble:
    """Members of a pool that label together.

    Attributes:
        pool: its name in the cache, or that of its folder elsewhere.
        fingerprint: a hash of what the pool says of itself.
        members: which of it.
        average: what is averaged over them.
    """

    pool: str
    fingerprint: str
    members: tuple[int, ...]
    average: Average

    @classmethod
    def of(cls, pool: "Pool", members: Sequence[int], average: Average) -> "Ensemble":
        return cls(pool.folder.name, stable_hash(pool.description), tuple(members), average)

    def networks(self, pool: "Pool") -> list[nn.Module]:
        """Return the members as networks, all held at once."""
        pool.max_loaded = len(self.members)
        return [pool.network(index) for index in self.members]

    def find(self, where: str | None, device: torch.device) -> "Pool":
        """Return the pool: from the cache, or from the folder (or name) that the user says.

        An artifact names no folder: what lies in one might be anybody's, and a network may be code.

        Raises:
            DdkitError: it is not there, or it is another one.
        """
        from ddkit.pools import (
            named as named_pool,  # it needs the configuration, which knows the forms of labels
        )
        from ddkit.pools.pool import Pool

        if where is None and not (cache_folder("pools") / self.pool / "pool.json").exists():
            raise DdkitError(
                f"the pool '{self.pool}', which makes these labels, is not in "
                f"{cache_folder('pools')}: say where it is with ddkit.load(path, pool=FOLDER), or "
                "put it there"
            )
        name = where or self.pool
        folder = named_pool.folder_of(name)
        if named_pool.fingerprint(name) != self.fingerprint:
            raise DdkitError(
                f"the pool {folder} is not the one that these labels were made with, which was "
                f"called '{self.pool}': name that one"
            )
        if folder.parent != cache_folder("pools") and named_pool.network_of(name) is None:
            raise DdkitError(
                f"the pool {folder} has a network from a file: if you trust that, put the pool "
                f"into {cache_folder('pools')}"
            )
        return Pool.open(folder, device)


@torch.no_grad()
def averaged_logits(
    networks: Sequence[nn.Module],
    inputs: Tensor,
    how: Average,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the ensemble's logits (B, classes): of averaged logits, or of averaged probabilities.

    Y = 1/|M| Σ h(A(X); θ) (Teddy, Algorithm 1). The logarithm of averaged probabilities serves as
    logits, so that either can be softened by a temperature afterwards. Members count by `weights`,
    which sum to 1, or all alike.
    """
    outputs = torch.stack([network(inputs) for network in networks])
    if weights is not None:
        shares = torch.tensor(weights, dtype=outputs.dtype, device=outputs.device).view(-1, 1, 1)
        if how == "logits":
            return (shares * outputs).sum(0)
        return torch.logsumexp(torch.log_softmax(outputs, dim=2) + shares.log(), dim=0)
    if how == "logits":
        return outputs.mean(0)
    return torch.logsumexp(torch.log_softmax(outputs, dim=2), dim=0) - torch.log(
        torch.tensor(float(len(networks)))
    )


@dataclass
class RecipeLabels(ReplayedLabels):
    """Views from a seed, and the pool that labels them.

    Attributes:
        lasting: epochs that have views of their own.
        space: how pixels become what the members see.
        where: the folder of the pool, or its name; None: in the cache, by its own name.
    """

    ensemble: Ensemble
    views: DrawnViews
    lasting: int
    space: InputSpace
    temperature: float = 1.0
    where: str | None = None
    kind: ClassVar[str] = "recipe"
    _networks: dict[torch.device, list[nn.Module]] = field(default_factory=dict, repr=False)
    _spaces: dict[torch.device, InputSpace] = field(default_factory=dict, repr=False)

    @property
    def form(self) -> str:
        return "recipe"

    @property
    def epochs(self) -> int:
        return self.lasting

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def about(self) -> dict[str, Any]:
        return {
            "ensemble": asdict(self.ensemble),
            "views": self.views.about() | {"check": None},  # whatever is drawn gets its own labels
            "epochs": self.lasting,
        }

    def to(self, device: torch.device) -> "RecipeLabels":
        return self  # members go where images are

    def drawn(self, epoch: int) -> Views:
        return self.views.of(epoch)

    def batch(self, images: Images, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        seen = self.view(images, rows, epoch)
        networks, space = self.networks_on(seen.device), self._spaces[seen.device]
        return seen, torch.cat(
            [
                averaged_logits(networks, space.encode(part), self.ensemble.average)
                for part in seen.split(BATCH)
            ]
        )

    def kept(self, epochs: int) -> "RecipeLabels":
        """Return the recipe with the views of the first `epochs` alone."""
        return replace(self, lasting=epochs)

    def networks_on(self, device: torch.device) -> list[nn.Module]:
        """Return the members on a device; opened when first asked for."""
        if device not in self._networks:
            pool = self.ensemble.find(self.where, device)
            self._networks[device] = self.ensemble.networks(pool)
            self._spaces[device] = self.space.to(device)
        return self._networks[device]

    @property
    def pool_bytes(self) -> int | None:
        """The bytes of the whole pool; None where it is not found."""
        try:
            folder = self.ensemble.find(self.where, torch.device("cpu")).folder
        except DdkitError:
            return None
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
