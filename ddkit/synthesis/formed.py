"""Any objective under multi-formation: it sees training images, what moves are the stored ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ddkit.data.formation import GREY, packed, parts_of, unpacked
from ddkit.run import Run
from ddkit.runtime.arithmetic import Arithmetic
from ddkit.runtime.errors import DdkitError
from ddkit.synthesis.images import Synthetic
from ddkit.synthesis.initial import initial_inputs
from ddkit.synthesis.leaves import Leaf
from ddkit.synthesis.objective import ImageObjective, Objective
from ddkit.synthesis.shards import Shard, group_shards


def formed(objective: Objective, run: Run) -> Objective:
    """Return a method's objective for a run; one of `Run.decoded` where images hold several."""
    return Formed(objective, run) if run.config.factor > 1 else objective


class Formed(Objective):
    """An objective whose leaf `images` is stored, factor² training images in each of its rows.

    The method's own objective belongs to `Run.decoded`, and is given the training images of the
    shard class by class, those of a stored image one after the other. Its optimiser, constraint and
    limit act on the stored ones.
    """

    def __init__(self, inner: Objective, run: Run):
        super().__init__(run)
        self.inner = inner
        self.factor = run.config.factor
        if inner.turns:
            raise DdkitError(
                f"--factor {self.factor}: the method '{run.config.method}' makes its images anew "
                "on the way, which those that hold several cannot be: leave out --factor"
            )
        self.steps, self.advice, self.precisions = inner.steps, inner.advice, inner.precisions
        grey = torch.full((1, *run.shape), GREY, device=run.device)
        self._grey = run.space.encode(grey)[0, :, :1, :1]  # the same everywhere: there is no ZCA

    def compute_with(self, arithmetic: Arithmetic) -> None:
        self.inner.compute_with(arithmetic)

    @property
    def lays_out(self) -> bool:
        return self.inner.lays_out

    def measured(self) -> Mapping[str, Any]:
        return self.inner.measured()

    def shards(self) -> Sequence[Shard]:
        """Return the method's own parts; raises `DdkitError` where these would cut images."""
        if type(self.inner).shards is Objective.shards:
            return group_shards(self.run, self.run.config.groups)
        found = []
        for shard in self.inner.shards():
            slots = shard.slots[:: self.factor**2] // self.factor**2
            if not torch.equal(parts_of(slots, self.factor), shard.slots):
                raise DdkitError(
                    f"--factor {self.factor}: the parts in which '{self.run.config.method}' "
                    f"distils the set do not hold whole stored images of {self.factor**2} training "
                    "images: choose another batch size, or --factor 1"
                )
            found.append(Shard.of(self.run, shard.index, slots))
        return found

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        leaves = self.inner.initialise(self._decoded(shard))
        if "images" not in leaves:
            raise DdkitError(
                f"--factor {self.factor}: the method '{self.run.config.method}' has no leaf "
                "'images' whose rows could hold several: leave out --factor"
            )
        # noise is noise of stored pixels, and a set that is gone on with keeps its own
        real = self.run.config.init == "real"
        own = leaves["images"]
        start = packed(own.value, self.factor) if real else initial_inputs(self.run, shard)
        return leaves | {"images": replace(own, value=start)}

    def draw(self, shard: Shard, step: int) -> Mapping[str, Tensor]:
        drawn = self.inner.draw(self._decoded(shard), step)
        if "images" not in drawn:
            return drawn
        return {**drawn, "images": (drawn["images"] // self.factor**2).unique()}

    def loss(self, shard: Shard, leaves: Mapping[str, Tensor], step: int) -> Tensor:
        whole = self._decoded(shard)
        images = self._unpacked(leaves["images"])
        drawn = self.inner.draw(whole, step).get("images")
        if drawn is not None:  # of the stored images that were drawn, the parts that were
            stored, parts = (drawn // self.factor**2), drawn % self.factor**2
            rows = torch.searchsorted(stored.unique(), stored) * self.factor**2 + parts
            images = images[rows.to(images.device)]
        return self.inner.loss(whole, {**leaves, "images": images}, step)

    def decode(self, shard: Shard, leaves: Mapping[str, Tensor]) -> Synthetic:
        images = self.pixels(leaves["images"])
        if type(self.inner).decode is ImageObjective.decode:
            return Synthetic(images, shard.classes, factor=self.factor)
        training = {**leaves, "images": self._unpacked(leaves["images"].to(self.run.device))}
        found = self.inner.decode(self._decoded(shard), training)
        return replace(found, images=images, classes=shard.classes, factor=self.factor)

    def state_dict(self) -> dict[str, Tensor]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.inner.load_state_dict(state)

    def _decoded(self, shard: Shard) -> Shard:
        """Return the shard of the training images that a shard's stored ones hold."""
        slots = parts_of(shard.slots, self.factor)
        return Shard(shard.index, slots, shard.classes.repeat_interleave(self.factor**2))

    def _unpacked(self, images: Tensor) -> Tensor:
        return unpacked(images, self.factor, self._grey.to(images.device))
