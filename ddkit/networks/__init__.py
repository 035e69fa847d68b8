"""Networks by name: ours, torchvision's, third parties' and a user's own file.

    random = generator(0, "initial weights")
    create("convnet:depth=3:width=64", classes=10, shape=(3, 32, 32), generator=random)
    create("nets/mine.py:factory", classes=10, shape=(3, 32, 32), generator=random)

Importing this package, listing names and parsing a spec import no torch.
"""

from ddkit.networks.build import create
from ddkit.networks.names import NETWORKS
from ddkit.networks.norms import average_statistics, batch_norms, batch_statistics
from ddkit.networks.spec import NetworkSpec, parse, spec_fingerprint

__all__ = [
    "NETWORKS",
    "NetworkSpec",
    "average_statistics",
    "batch_norms",
    "batch_statistics",
    "create",
    "parse",
    "spec_fingerprint",
]
