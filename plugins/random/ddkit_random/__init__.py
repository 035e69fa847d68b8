"""Random real images: the plainest method, and the baseline under every figure."""

from ddkit import ImageObjective, Objective, Pool, Run, hookimpl


class RealImages(ImageObjective):
    """Zero steps: the initial images are the result."""

    def loss(self, shard, leaves, step):  # type: ignore[no-untyped-def]
        raise RuntimeError("random images are not optimised, their loss is never asked for")


@hookimpl
def synthesis_loss(run: Run, pool: Pool) -> Objective:
    return RealImages(run)
