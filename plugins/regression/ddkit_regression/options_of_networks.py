"""Options of what the kernels are of: networks in training, random ones, infinitely wide ones."""

from typing import Literal

from ddkit import MethodOptions, StageName, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class NetworkOptions(MethodOptions):
    """Defaults are FRePo's."""

    # kernel=features, body or random
    networks: int = option(
        10,
        "networks that are trained on the set in turn, one in each step; kernel=random: new random "
        "ones in each step",
        stages=SYNTHESIS,
        ge=1,
    )
    pool_network: str = option(
        "",
        "their network, where sets are evaluated on another one (--network); kernel=features or "
        "body",
        stages=SYNTHESIS,
        pattern=r"^(|[\w./~-]+(:[\w.=-]+)*)$",
    )

    # kernel=features or body
    oldest: int = option(
        100,
        "age, in steps of its training, beyond which a network is replaced by a random one",
        stages=SYNTHESIS,
        ge=1,
    )
    network_steps: int = option(
        1,
        "steps of its training that a network takes in its turn: up to so many, drawn evenly",
        stages=SYNTHESIS,
        ge=1,
    )
    lr_network: float = option(
        3e-4, "learning rate of this training (Adam)", stages=SYNTHESIS, gt=0
    )
    batch_network: int = option(
        1000, "images of the set in a step of it at most", stages=SYNTHESIS, ge=1
    )

    # kernel=body
    softplus: bool = option(
        False,
        "a rounded ReLU in the networks of a ConvNet pool: kernel=body takes second derivatives",
        stages=SYNTHESIS,
    )
    inner: Literal["exact", "steps"] = option(
        "exact",
        "kernel=body: how the regression is solved. exact: one dense system, as large as images "
        "times classes; steps: as RCIG's code, Adam steps on it, and on its inverse Hessian",
        stages=SYNTHESIS,
    )
    inner_steps: int = option(20, "inner=steps: steps of each", stages=SYNTHESIS, ge=1)

    # kernel=tangent-fc
    depth: int = option(1, "kernel=tangent-fc: hidden layers", stages=SYNTHESIS, ge=0)
