"""Networks between a random one and itself after training, as NCFM draws them."""

import torch
from torch import Tensor, nn

from ddkit import Pool, Run, Shard
from ddkit_matching.options import MatchingOptions
from ddkit_matching.pool import pairs
from ddkit_matching.sources import Chosen, Source


class Pairs(Source):
    """θ = λ θ⁰ + (1 − λ) θᵀ, of a pair that each step draws with its λ in [0, 1)."""

    def __init__(self, run: Run, options: MatchingOptions, pool: Pool):
        super().__init__(run, options, pool)
        self.members = pairs(pool, run)
        self._networks = tuple(pool.fresh() for _ in range(2))  # one holds those before training
        self._between = run.network(run.generator("skeleton"))

    def begin(self, shard: Shard) -> None:
        """Nothing lives across steps."""

    def of(self, shard: Shard, images: Tensor, step: int) -> Chosen:
        draw = self.run.generator("pair", shard.index, step)
        first, last = self.members[int(torch.randint(len(self.members), (), generator=draw))]
        share = float(torch.rand((), generator=draw))
        before, trained = self._networks[0].network(first), self._networks[1].network(last)
        interpolate(self._between, before, trained, share)
        return Chosen(self._between, trained=trained)


def interpolate(network: nn.Module, before: nn.Module, after: nn.Module, share: float) -> None:
    """Give `network` the weights share · before + (1 − share) · after, and the buffers of `after`.

    All three are of one architecture, on one device; at 0 and 1 the weights are exactly theirs.
    """
    with torch.no_grad():
        weights = zip(*(each.parameters() for each in (network, before, after)), strict=True)
        for own, first, last in weights:
            torch.lerp(last, first, share, out=own.data)
        for own, last in zip(network.buffers(), after.buffers(), strict=True):
            own.copy_(last)
