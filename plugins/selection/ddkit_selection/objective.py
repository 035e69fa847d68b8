"""Zero steps: the chosen real images are the result."""

from torch import Tensor

from ddkit import DdkitError, ImageObjective, Leaf, Pool, Run, Shard, check_stop, real_images
from ddkit_selection.features import network_features, pixel_features
from ddkit_selection.options import SelectionOptions
from ddkit_selection.rules import RULES
from ddkit_selection.teachers import members


class SelectionObjective(ImageObjective):
    """Image i of a class is the i-th that the rule chooses of it, however the set is cut."""

    def __init__(self, run: Run, pool: Pool):
        super().__init__(run)
        self.options: SelectionOptions = run.options
        self.pool = pool
        self.members: list[int] = []
        if self.options.features == "network":
            self.members = members(pool, self.options.teachers)
            pool.max_loaded = len(self.members)  # each class goes through all of them
        self._chosen: dict[int, Tensor] = {}

    def initialise(self, shard: Shard) -> dict[str, Leaf]:
        labels = shard.classes.unique().tolist()
        with self.run.progress.task(f"selection: {self.options.rule}", len(labels)) as bar:
            for label in labels:
                check_stop()  # nothing is lost: what is chosen follows from the pool
                self.chosen(label)
                bar.advance()
        images = real_images(self.run, shard.slots, self.chosen)
        return {"images": Leaf(self.run.space.to("cpu").encode(images), self.optimiser)}

    def loss(self, shard, leaves, step):  # type: ignore[no-untyped-def]
        raise RuntimeError("chosen images are not optimised, their loss is never asked for")

    def chosen(self, label: int) -> Tensor:
        """Return the training images (int64) that stand for a class, in order: ipc, or all."""
        if label not in self._chosen:
            rows = (self.run.train.labels == label).nonzero().flatten()
            order = RULES[self.options.rule](self._features(rows), min(self.run.ipc, len(rows)))
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
