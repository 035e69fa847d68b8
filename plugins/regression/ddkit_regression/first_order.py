"""A network to first order in the weights of its body: all but those of its last linear layer."""

import torch
from torch import Tensor, nn

from ddkit import features_and_logits


def body_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of the body by their names; the bias of the last layer is one of them."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    return {name: each for name, each in network.named_parameters() if each is not last.weight}


class Tangent:
    """The derivative J of the logits of some images by the body, as a product from either side.

    Attributes:
        features: (n, d), differentiable in the images.
        logits: (n, classes).
    """

    def __init__(self, network: nn.Module, images: Tensor):
        self.body = list(body_of(network).values())
        for weight in self.body:
            weight.requires_grad_(True)
        self.features, self.logits = features_and_logits(network, images)
        self._pulled: tuple[Tensor, Tensor] | None = None

    def pull(self, cotangent: Tensor, differentiable: bool = False) -> Tensor:
        """Return Jᵀ v (weights,) of a cotangent (n, classes), differentiable in the images."""
        slopes = torch.autograd.grad(
            self.logits,
            self.body,
            cotangent.to(self.logits.dtype),
            retain_graph=True,
            create_graph=differentiable,
            materialize_grads=True,
        )
        return torch.cat([slope.flatten() for slope in slopes])

    def push(self, tangent: Tensor) -> Tensor:
        """Return J τ (n, classes) of a tangent (weights,).

        Jᵀ u is linear in u, so that its gradient is J: one graph serves all tangents.
        """
        if self._pulled is None:
            u = torch.zeros_like(self.logits, requires_grad=True)
            self._pulled = u, self.pull(u, differentiable=True)
        u, pulled = self._pulled
        (found,) = torch.autograd.grad(pulled, u, tangent.to(pulled.dtype), retain_graph=True)
        return found


def jacobian(network: nn.Module, images: Tensor) -> Tensor:
    """Return J (n · classes, weights), without a graph: n · classes backward passes at once."""
    body = {name: weight.detach() for name, weight in body_of(network).items()}
    rest = {name: weight.detach() for name, weight in network.named_parameters()}

    def logits(body: dict[str, Tensor], image: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(network, {**rest, **body}, (image[None],))
        return found[0]

    rows = torch.func.vmap(torch.func.jacrev(logits), in_dims=(None, 0))(body, images.detach())
    return torch.cat([rows[name].flatten(2) for name in body], 2).flatten(0, 1)
