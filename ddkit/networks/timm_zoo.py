"""timm's networks, untrained (the extra `ddkit[timm]`): `timm:NAME`."""

import difflib
from typing import Any

import torch
from torch import nn

from ddkit.runtime.errors import DdkitError

Shape = tuple[int, int, int]


def timm_network(classes: int, shape: Shape, model: str) -> nn.Module:
    """Return a network of timm for any number of channels; its weights are random.

    Networks that are made for one image size, such as vision transformers, are made for this one.

    Args:
        classes: the number of logits.
        shape: (channels, height, width).
        model: what timm calls it, such as resnet18d.

    Raises:
        DdkitError: timm is missing, has no such network, or not for images of this size.
    """
    try:
        import timm
    except ImportError as error:
        raise DdkitError("timm's networks need timm: pip install 'ddkit[timm]'") from error
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f"; close: {', '.join(near)}" if near else ""
        raise DdkitError(f"timm {timm.__version__} has no network '{model}'{hint}")
    channels, height, width = shape
    config = timm.get_pretrained_cfg(model)
    size: dict[str, Any] = {}
    if config and config.fixed_input_size:
        size["img_size"] = (height, width)
    about = f"timm's {model} takes no images of {height}×{width} pixels with {channels} channels"
    try:
        network: nn.Module = timm.create_model(
            model, pretrained=False, num_classes=classes, in_chans=channels, **size
        )
        with torch.no_grad():
            found = network.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise DdkitError(f"{about} ({str(error).splitlines()[0]}): choose another") from error
    if found.shape != (1, classes):
        raise DdkitError(f"{about}: it returns {tuple(found.shape)}, not (1, {classes})")
    return network
