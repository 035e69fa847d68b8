"""The options of the post pool: pruned copies of one trained network, each fine-tuned a little."""

from ddkit import MethodOptions, StageName, option

POOL: tuple[StageName, ...] = ("pool",)


class PostOptions(MethodOptions):
    """Defaults follow Teddy, appendix D."""

    base: str | None = option(
        None,
        "post: weights of your own trained network (.safetensors, .pt); none: train one here",
        stages=POOL,
    )
    members: int = option(10, "post: pruned copies", stages=POOL, ge=1)
    prune_ratio: float = option(
        0.19,
        "post: share of channels cut; on torchvision's ResNet-18 this gives the paper's 7.72 M, "
        "1.2 GMACs",
        stages=POOL,
        gt=0,
        lt=1,
    )
    prune_to_parameters: float | None = option(
        None,
        "post: cut until this share of the parameters is left, instead of prune_ratio",
        stages=POOL,
        gt=0,
        lt=1,
    )
    prune_to_macs: float | None = option(
        None,
        "post: cut until this share of the multiply-accumulates is left",
        stages=POOL,
        gt=0,
        lt=1,
    )
    finetune_epochs: float = option(
        2.0,
        "post: the longest fine-tuning; members are spread evenly from none to this",
        stages=POOL,
        ge=0,
    )
    finetune_lr: float = option(
        0.1, "post: learning rate at the start of fine-tuning", stages=POOL, gt=0
    )
    finetune_last_lr: float = option(
        0.001, "post: learning rate after finetune_epochs, reached geometrically", stages=POOL, gt=0
    )
    finetune_batch: int = option(32, "post: batch size of fine-tuning", stages=POOL, ge=1)
