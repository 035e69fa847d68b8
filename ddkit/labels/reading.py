"""From an artifact's tensors to labels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ddkit.data.augmentation.views import Views
from ddkit.data.space import InputSpace
from ddkit.labels.coded import read_logits
from ddkit.labels.drawn import DrawnViews
from ddkit.labels.epochs import EpochLabels
from ddkit.labels.kinds import HardLabels, Labels, RegressionTargets, SoftLabels
from ddkit.labels.recipe import Ensemble, RecipeLabels
from ddkit.runtime.errors import DdkitError


def labels_from(
    kind: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any], pool: str | None = None
) -> Labels:
    """Return the labels that an artifact stores; raises `DdkitError` for an unknown kind.

    Args:
        info: their temperature, and what `Labels.about` said.
        pool: where the pool of a recipe lies, if not in the cache.
    """
    if kind == "hard":
        return HardLabels(tensors["classes"])
    if kind == "soft":
        return SoftLabels(read_logits(tensors, "labels.logits", info), info["temperature"])
    if kind == "targets":
        return RegressionTargets(tensors["labels.targets"])
    if kind == "epoch":
        drawn = info.get("views")
        views = (
            Views.from_tensors(tensors, "labels.views")
            if drawn is None
            else DrawnViews.from_about(drawn)
        )
        logits = read_logits(tensors, "labels.logits", info)
        return EpochLabels(logits, views, info["temperature"])
    if kind == "recipe":
        who = info["ensemble"]
        return RecipeLabels(
            Ensemble(**{**who, "members": tuple(who["members"])}),
            DrawnViews.from_about(info["views"]),
            info["epochs"],
            InputSpace.from_tensors(tensors),
            info["temperature"],
            pool,
        )
    raise DdkitError(f"labels of kind '{kind}' are unknown to this version of ddkit: update it")
