"""Random real images: the plainest method, and the baseline under every figure."""

from typing import ClassVar

from ddkit import ImageObjective, MethodOptions, Objective, Pool, Run, hookimpl


class RandomOptions(MethodOptions):
    """None; without a step, any budget is kept."""

    keeps_budget: ClassVar[bool] = True


class RealImages(ImageObjective):
    """Zero steps: the initial images are the result."""

    def loss(self, shard, leaves, step):  # type: ignore[no-untyped-def]
        raise RuntimeError("random images are not optimised, their loss is never asked for")


@hookimpl
def method_config() -> type[MethodOptions]:
    return RandomOptions


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return RealImages(run)
