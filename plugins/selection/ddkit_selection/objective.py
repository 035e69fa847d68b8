"""Zero steps: the chosen real images, or those put together of chosen parts, are the result."""

from torch import Tensor

from ddkit import (
    DdkitError,
    ImageObjective,
    Pool,
    Run,
    Shard,
    check_stop,
    patch_inputs,
    patch_losses,
    real_images,
)
from ddkit_selection.features import network_features, pixel_features
from ddkit_selection.options import SelectionOptions
from ddkit_selection.rules import RULES
from ddkit_selection.teachers import members


def objective_of(run: Run, pool: Pool) -> "ChosenImages":
    """Return the objective of the run's rule."""
    kind = CollageObjective if run.options.rule == "rded" else SelectionObjective
    return kind(run, pool)


class ChosenImages(ImageObjective):
    """Image i of a class is the i-th that a rule gives for it, however the set is cut."""

    clip = False

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run)
        self.options: SelectionOptions = run.options
        self.pool = pool
        self.members: list[int] = []
        if self.options.features == "network":
            self.members = members(pool, self.options.teachers)
            pool.check_countable(run.config.memory_budget)
            pool.max_loaded = len(self.members)  # each class goes through all of them

    def loss(self, shard, leaves, step):  # type: ignore[no-untyped-def]
        raise RuntimeError("chosen images are not optimised, their loss is never asked for")


class SelectionObjective(ChosenImages):
    """Whole images, by their features: a class stands for itself in ipc of them, or all."""

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run, pool)
        self._chosen: dict[int, Tensor] = {}

    def start(self, shard: Shard) -> Tensor:
        labels = shard.classes.unique().tolist()
        with self.run.progress.task(f"selection: {self.options.rule}", len(labels)) as bar:
            for label in labels:
                check_stop()  # nothing is lost: what is chosen follows from the pool
                self.chosen(label)
                bar.advance()
        return self.run.space.to("cpu").encode(real_images(self.run, shard.slots, self.chosen))

    def chosen(self, label: int) -> Tensor:
        """Return the training images (int64) that stand for a class, in order, chosen once."""
        if label not in self._chosen:
            rows = (self.run.train.labels == label).nonzero().flatten()
            rule = RULES[self.options.rule]
            order = rule(self._features(rows), min(self.run.ipc, len(rows)))
            self._chosen[label] = rows[order.cpu()]
        return self._chosen[label]

    def _features(self, rows: Tensor) -> Tensor:
        if not self.members:
            return pixel_features(self.run, rows)
        features = network_features(self.run, self.pool, self.members, rows)
        if not features.isfinite().all():
            raise DdkitError(
                "the networks' features are not finite: lower their learning rate (--set "
                "train_lr=…), name another pool, or --set features=pixels"
            )
        return features


class CollageObjective(ChosenImages):
    """RDED: images put together of the patches that networks recognise best."""

    def start(self, shard: Shard) -> Tensor:
        return patch_inputs(self.run, shard.slots, patch_losses(self.pool, self.members))
