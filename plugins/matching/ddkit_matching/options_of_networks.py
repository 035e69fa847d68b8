"""Options of the networks that images are matched in, that came after DC's: IDC, IDM, NCFM."""

from typing import Literal

from ddkit import Recipe, StageName, TrainingOptions, option

POOL: tuple[StageName, ...] = ("pool",)
SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class NetworkOptions(
    TrainingOptions,
    train_epochs=60,
    train_batch=128,
    train_schedule="drop:0.2:2/3:5/6",
    train_augmentation="color-crop",
):
    """The pool of pairs is trained as NCFM's code does."""

    networks: Literal["fresh", "trained", "queue", "pairs"] = option(
        "fresh",
        "fresh: random ones (DC, DM, IDC); trained: those of a pool; queue: random ones that are "
        "trained on real data all the while (IDM); pairs: between a random one and itself after "
        "training, from a pool (NCFM)",
        stages=("pool", "synthesis"),
    )

    # the queue
    queue: int = option(100, "networks in the queue at most", stages=SYNTHESIS, ge=1)
    queue_every: int = option(
        30,
        "steps from one new random network to the next; the oldest goes where the queue is full",
        stages=SYNTHESIS,
        ge=1,
    )
    queue_trained: int = option(2, "networks that are trained in a step", stages=SYNTHESIS, ge=0)
    queue_steps: int = option(10, "batches that each of them is trained on", stages=SYNTHESIS, ge=0)

    # networks=fresh or trained
    train_on: Literal["synthetic", "real"] = option(
        "synthetic",
        "what the network is trained on in between: the images (DC), or real images (IDC)",
        stages=SYNTHESIS,
    )
    inner_images: int = option(
        2000, "train_on=real: images that it is trained on after each step", stages=SYNTHESIS, ge=1
    )
    early_epochs: int = option(
        0, "train_on=real: epochs that it is trained for at first", stages=SYNTHESIS, ge=0
    )

    # training on real data beside the images: queue, and train_on=real
    momentum_network: float = option(
        0.0, "momentum of training on real data", stages=SYNTHESIS, ge=0, lt=1
    )
    decay_network: float = option(0.0, "weight decay of it", stages=SYNTHESIS, ge=0)
    network_augmentation: Literal["none", "dsa", "color-crop"] = option(
        "none", "augmentation of its real images", stages=SYNTHESIS
    )
    network_cutmix: float = option(
        0.0, "probability of CutMix of its batches", stages=SYNTHESIS, ge=0, le=1
    )

    # the pool
    members: int = option(20, "networks of the pool", stages=POOL, ge=1)
    train_cutmix: float = option(
        0.5, "probability of CutMix of a batch in this training", stages=POOL, ge=0, le=1
    )
    together: int = option(
        10,
        "of them trained as one batched network if that is measured to be 1.3 times as fast, as "
        "on a GPU; 1: never, so that nothing depends on timing",
        stages=POOL,
        ge=1,
    )

    @property
    def recipe(self) -> Recipe:
        """How a network of the pool is trained."""
        return super().recipe.model_copy(update={"cutmix": self.train_cutmix})

    @property
    def has_pool(self) -> bool:
        return self.networks in ("trained", "pairs")
