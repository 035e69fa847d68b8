"""The options of where images start, and of the phases in which they are optimised (FADRM)."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from ddkit import PatchOptions, StageName, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)


class PhaseOptions(PatchOptions):
    """Defaults are Teddy's, which has none of this."""

    choose: Literal["random", "patches"] = option(
        "random",
        "which real images are the initial ones; patches: those that RDED puts together of the "
        "patches that the last members of the pool recognise best",
        stages=SYNTHESIS,
    )
    jitter: int = option(
        0,
        "pixels by which a batch is shifted at most in each direction, around its edges, at each "
        "step",
        stages=SYNTHESIS,
        ge=0,
    )
    phases: int = option(
        1,
        "equal parts of the iterations, each of which begins with a fresh optimiser (FADRM)",
        stages=SYNTHESIS,
        ge=1,
    )
    residual: float = option(
        0.0,
        "share of the initial images that is mixed in between two phases (FADRM: 1 − α)",
        stages=SYNTHESIS,
        ge=0,
        le=1,
    )
    sizes: Annotated[str, BeforeValidator(str)] = option(
        "",
        "sides in pixels of the images in each phase, from the first again where there are fewer, "
        "such as 200,224; empty: as the data",
        stages=SYNTHESIS,
        pattern=r"^([1-9]\d*(,[1-9]\d*)*)?$",
    )

    @property
    def sides(self) -> list[int]:
        """The side of the images in each phase; none where it is always that of the data."""
        named = [int(side) for side in self.sizes.split(",")] if self.sizes else []
        return [named[phase % len(named)] for phase in range(self.phases)] if named else []
