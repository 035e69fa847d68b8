"""The rules by their names: what people type."""

from ddkit import Alias

HERDING = Alias(
    method="selection",
    options={"rule": "herding"},
    summary="real images whose mean feature follows that of their class",
)
K_CENTER = Alias(
    method="selection",
    options={"rule": "k-center"},
    summary="real images that leave none of their class far from the nearest",
)
