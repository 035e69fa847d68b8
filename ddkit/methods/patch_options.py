"""The options of methods that put images together of patches of real ones."""

from ddkit.config import StageName
from ddkit.methods.options import MethodOptions, option

SYNTHESIS: tuple[StageName, ...] = ("synthesis",)
LARGE = 96  # pixels, from which on an image holds four patches


class PatchOptions(MethodOptions):
    """How patches are cut out and chosen; defaults are those of RDED's released code."""

    collage: int = option(
        0,
        "patches along each side of an image that is put together of them; 0: 2 from 96 pixels on, "
        "else 1",
        stages=("synthesis", "relabel"),
        ge=0,
    )
    candidates: int = option(
        300,
        "random training images of a class that patches are cut out of; at least as many as it "
        "needs patches",
        stages=SYNTHESIS,
        ge=1,
    )
    crops: int = option(
        5,
        "random patches of each of these images, the best of which stays",
        stages=SYNTHESIS,
        ge=1,
    )
    patch_scale: float = option(
        0.08, "smallest share of an image in a patch", stages=SYNTHESIS, gt=0, le=1
    )

    def patches_along(self, shape: tuple[int, ...]) -> int:
        """Return how many patches an image (channels, height, width) holds along each side."""
        return self.collage or (2 if min(shape[1:]) >= LARGE else 1)
