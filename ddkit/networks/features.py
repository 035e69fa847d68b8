"""The features of an image in any network: what its last linear layer sees."""

from torch import Tensor, nn

from ddkit.runtime.errors import DdkitError


def last_linear_input(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the last linear layer to be called sees of each input, (B, d).

    Differentiable where `inputs` are. Raises `DdkitError` where there is no layer that sees one row
    per input.
    """
    return features_and_logits(network, inputs)[0]


def features_and_logits(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return `last_linear_input` (B, d) and the logits (B, classes), in one pass."""
    seen: list[Tensor] = []

    def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen[:] = arguments[:1]

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(keep) for module in linear]
    try:
        logits = network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or len(seen[0]) != len(inputs):
        raise DdkitError(
            "the network does not end in a linear layer whose input could be features of an "
            "image: choose another one (--network)"
        )
    return seen[0].flatten(1), logits
