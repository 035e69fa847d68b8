"""The rules by their names: what people type."""

from ddkit import Alias

HERDING = Alias(
    method="selection",
    options={"rule": "herding"},
)
K_CENTER = Alias(
    method="selection",
    options={"rule": "k-center"},
)
