"""From a spec to a network whose weights follow from a generator alone."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ddkit.networks import options, userfile
from ddkit.networks.names import NETWORKS
from ddkit.networks.spec import parse
from ddkit.runtime.errors import DdkitError

if TYPE_CHECKING:  # torch is imported in the functions: listing networks must not wait for it
    import torch
    from torch import nn


def create(
    spec: str,
    *,
    classes: int,
    shape: tuple[int, int, int],
    generator: "torch.Generator | None" = None,
    meta: bool = False,
) -> "nn.Module":
    """Return the network `spec` names, for `classes` classes and images of `shape`.

    It is float32, on the CPU and in train mode. Its initial weights follow from `generator`, which
    advances by one draw; torch's global generators stay as they were. With `meta` the network is a
    skeleton on the meta device that holds no weights, for `load_state_dict(…, assign=True)` or for
    counting; `generator` may then be left out.

    Args:
        spec: `name`, `name:key=value:…` or `path/to/file.py:factory:…`; a factory is any callable
            `(classes, shape, **options)` that returns a module.
        classes: the number of logits.
        shape: (channels, height, width).

    Raises `DdkitError` for an unknown name or option, an option of the wrong type, images that are
    too small for the network, and a user's file that does not give (N, classes) logits.
    """
    import torch

    if generator is None and not meta:
        raise ValueError("create() needs a generator for the weights, or meta=True")
    named = parse(spec)
    path = named.path
    with torch.random.fork_rng(devices=[]):
        factory = userfile.load(path, named.name) if path else NETWORKS.load(named.name)
        values = options.convert(factory, named.options, named.title)
        if generator is not None:
            _follow(generator)
        with torch.device("meta" if meta else "cpu"):
            with userfile.blame(path, f"fails in {named.name}") if path else nullcontext():
                network = factory(classes, shape, **values)
            if not isinstance(network, torch.nn.Module):
                kind = type(network).__name__
                raise DdkitError(f"network '{named.title}' must return an nn.Module, not {kind}")
            network = network.float() if meta else network.to("cpu", torch.float32)
            if path and not meta:
                userfile.probe(network, classes, shape, path)
    return network.train()


def _follow(generator: "torch.Generator") -> None:
    """Seed torch's global CPU generator from `generator`."""
    import torch

    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    # not torch.manual_seed, which would seed every CUDA device as well
    torch.default_generator.manual_seed(int(seed))
