"""The rules: which images of one class stand for it, from their features alone.

Both are greedy, so that what they choose first does not depend on how many are chosen, and need
memory for one distance per image beside the features. Equal distances: the lowest index.
"""

from math import inf

import torch
from torch import Tensor


def herding(features: Tensor, count: int) -> Tensor:
    """Return the rows whose mean follows the mean of all, in the order of choice.

    Welling, Herding dynamical weights to learn, ICML 2009, as iCaRL (Rebuffi et al., CVPR 2017,
    Alg. 4) uses it: the k-th is argmin_x ‖μ - (f(x) + Σ of the chosen f) / k‖ over what is left.

    Args:
        features: float (n, d), finite.
        count: how many to choose, 1 … n.

    Returns: int64 (count,), no row twice.
    """
    mean = features.mean(0)
    missing = torch.zeros_like(mean)  # k·μ - Σ: what the k-th would have to be
    taken = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    order = []
    for _ in range(count):
        missing += mean
        row = distances(features, missing).masked_fill_(taken, inf).argmin()
        missing -= features[row]
        taken[row] = True
        order.append(row)
    return torch.stack(order)


def k_center(features: Tensor, count: int) -> Tensor:
    """Return the rows that leave none far from the nearest of them, in the order of choice.

    Sener and Savarese, Active learning for convolutional neural networks: a core-set approach,
    ICLR 2018, Alg. 1 (farthest first), which begins with a set that is given: here with the row
    nearest to the mean.

    Args:
        features: float (n, d), finite.
        count: how many to choose, 1 … n.

    Returns: int64 (count,), no row twice.
    """
    row = distances(features, features.mean(0)).argmin()
    nearest = distances(features, features[row])
    order = [row]
    nearest[row] = -1  # below what a duplicate of it has
    for _ in range(count - 1):
        row = nearest.argmax()
        order.append(row)
        nearest = torch.minimum(nearest, distances(features, features[row]))
        nearest[row] = -1
    return torch.stack(order)


def distances(features: Tensor, point: Tensor) -> Tensor:
    """Return the Euclidean distance (n,) of every row (n, d) to a point (d,).

    Without a matrix product: that would lose the digits that small distances are made of.
    """
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(features, point.unsqueeze(0), compute_mode=exact).squeeze(1)


RULES = {"herding": herding, "k-center": k_center}
